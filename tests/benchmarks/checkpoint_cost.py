"""Recovery and checkpoint of a lane with 100,000 accounts, default parameters."""
import time, random, sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.detectors.traffic import make_config, START
from detectors.params import DetectorParams
from detectors.engine import Lane, FrameBuilder
from schemas.events import Request, Message, Account
from pipelines.detect.changelog import BlockWriter, Head, assemble
cfg = make_config(DetectorParams()); b = FrameBuilder(cfg); lane = Lane(0, cfg)
N=100_000; rng=random.Random(11)
words=[f"w{i}" for i in range(3000)]
ts=START
def batch(names, ts):
    ev=[]
    for i,n in enumerate(names):
        ev.append(Request(id=f"r{ts}{i}", ts=ts+i%9000, account=n, model="m", messages=[Message(role="user", content=" ".join(rng.choices(words,k=20)))]))
    return ev
t0=time.time()
for k in range(0,N,5000):
    lane.offer(b.build(batch([f"acct-{i:08d}" for i in range(k,k+5000)], ts))); ts+=10_000
    list(lane.close_until(ts))
print("built", lane.accounts, round(time.time()-t0,1))
w=BlockWriter()
def ck():
    t=time.time(); parts=lane.parts(); t1=time.time()
    head=Head(lane.layout,0,{}, {n:len(d) for n,d in parts.items()})
    recs=list(w.changes(head,parts)); w.durable()
    return parts,recs,t1-t,time.time()-t1
parts,recs,a,c=ck()
print("whole: parts MB", sum(map(len,parts.values()))/1e6, "records", len(recs), "MB", sum(len(v or b"") for _,v in recs)/1e6, "parts s", a, "diff+encode s", c)
topic=dict(recs)
parts,recs,a,c=ck(); print("nothing changed: records", len(recs), a, c)
for n in (100, 1000, 5000):
    lane.offer(b.build(batch(rng.sample([f"acct-{i:08d}" for i in range(N)], n), ts))); ts+=10_000; list(lane.close_until(ts))
    parts,recs,a,c=ck(); topic.update(recs)
    print(n,"events: records", len(recs), "MB", sum(len(v or b"") for _,v in recs)/1e6, "s", a, c, "us/event", (a+c)/n*1e6)
t=time.time(); st=assemble(topic); t1=time.time(); l2=Lane(0,cfg); l2.restore_parts(st.parts); print("restore: assemble", t1-t, "lane", time.time()-t1, l2.accounts); assert l2.parts()==parts
