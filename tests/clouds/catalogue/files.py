"""Catalogue files as SkyPilot has them, cut to a few lines of each kind. The figures are of its v8 catalogue."""

from __future__ import annotations

import hashlib
import os
from datetime import date, datetime, timezone
from pathlib import Path

_AWS_COLUMNS = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch"
)
AWS = f"""{_AWS_COLUMNS}
g6.xlarge,L4,1.0,4.0,16.0,"{{'Gpus': [1, 2]}}",0.7,0.30,us-east-1,use1-az1,x86_64
g6.xlarge,L4,1.0,4.0,16.0,,0.7,0.25,us-east-1,use1-az2,x86_64
g6.xlarge,L4,1.0,4.0,16.0,,0.7,,us-east-1,use1-az3,x86_64
g6.xlarge,L4,1.0,4.0,16.0,,1.1,,us-east-1,use1-bos1-az1,x86_64
g6f.large,L4,0.125,2.0,8.0,,0.1,0.01,us-east-1,use1-az1,x86_64
t4g.nano,,,2.0,0.5,,0.004,0.001,us-east-1,use1-az1,arm64
m6i.large,,,2.0,8.0,,0.09,,us-east-1,use1-az1,x86_64
m6i.xlarge,,,4.0,16.0,,0.18,,us-east-1,use1-az1,x86_64
,T4,1.0,,,,0.35,,us-east-1,use1-az1,
broken,L4,1.0,many,16.0,,0.7,0.30,us-east-1,use1-az1,x86_64
"""

GCP = """InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.73948,0.36975
a2-highgpu-1g,12.0,85.0,,,,me-west1,me-west1-a,0.81342,0.33516
a3-highgpu-8g,208.0,1872.0,,,,us-central1,us-central1-a,9.46006,2.88933
g2-standard-4,4.0,16.0,,,,us-central1,us-central1-a,0.14665,0.05868
g2-standard-8,8.0,32.0,,,,us-central1,us-central1-a,0.2933,0.11736
n1-standard-4,4.0,15.0,,,,us-central1,us-central1-a,0.19,0.04
n1-highmem-4,4.0,26.0,,,,us-central1,us-central1-a,0.23661,0.04966
n1-highmem-8,8.0,52.0,,,,us-central1,us-central1-a,0.47321,0.09932
n2-standard-2,2.0,8.0,,,,us-central1,us-central1-a,0.09712,0.03175
n2-standard-4,4.0,16.0,,,,us-central1,us-central1-a,0.19424,0.0635
,,,A100,1.0,"{'Gpus': []}",us-central1,us-central1-a,2.93391,1.4341
,,,A100,1.0,"{'Gpus': []}",me-west1,me-west1-a,2.93391,1.2
,,,L4,1.0,"{'Gpus': []}",us-central1,us-central1-a,0.56018,0.22316
,,,T4,1.0,"{'Gpus': []}",us-central1,us-central1-a,0.35,0.19
,,,H100,8.0,"{'Gpus': []}",us-central1,us-central1-a,78.4,18.2
"""

WITHOUT_LOCAL_ZONES = "".join(
    line for line in AWS.splitlines(keepends=True) if "bos1" not in line and not line.startswith(("broken", ",T4"))
)
"""SkyPilot's code reads neither a broken line nor two prices of one region."""

FETCHED = date(2026, 9, 21)


def write(folder: Path, cloud: str, text: str, *, digest: bool = True, fetched: date = FETCHED) -> Path:
    """Write a cloud's file as SkyPilot does: with the digest that names the time of the download."""
    file = folder / cloud / "vms.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if digest:
        note = folder / ".meta" / cloud / "vms.csv.md5"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
        moment = datetime(fetched.year, fetched.month, fetched.day, 12, tzinfo=timezone.utc).timestamp()
        os.utime(note, (moment, moment))
    return file
