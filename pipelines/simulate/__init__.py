"""Simulated traffic with ground truth: scenarios as data, real prompts, simulated accounts and times."""

from pipelines.simulate.loading import load_scenario, scenario_names
from pipelines.simulate.prompts import Prompts, data_directory, load_prompts
from pipelines.simulate.scenario import Scenario
from pipelines.simulate.simulation import Simulation, generate

__all__ = [
    "Prompts",
    "Scenario",
    "Simulation",
    "data_directory",
    "generate",
    "load_prompts",
    "load_scenario",
    "scenario_names",
]
