"""List each GPU's maker and memory. Data only, so that a request such as `80GB+` becomes names offline."""

from __future__ import annotations

from collections.abc import Mapping


def _of(maker: str, text: str) -> dict[str, tuple[str, float]]:
    pairs = (words.rpartition("=") for words in text.split())
    return {name.replace("_", " "): (maker, float(gigabytes)) for name, _, gigabytes in pairs}


GPU_MEMORY: Mapping[str, tuple[str, float]] = {
    **_of(
        "nvidia",
        """
        A10=24 A100=40 A100-80GB=80 A100-80GB-SXM=80 A10G=24 A16=16 A30=24 A40=48 A4000=16 A5000=24 A6000=48 A800=80
        B100=192 B200=180 B300=288 GB200=186 GB300=288 GH200=96 GTX1660S=6 H100=80 H100-MEGA=80 H100-NVL=94
        H100-NVLINK=80 H100-SXM=80 H200=141 H200-SXM=141 K80=12 L4=24 L40=48 L40S=48 M4000=8 M60=8 NVIDIA-H200-NVL=141
        P100=16 P4=8 P40=24 P4000=8 RTX2000-Ada=16 RTX3060=12 RTX3070=8 RTX3080=10 RTX3090=24 RTX4000-Ada=20 RTX4060=8
        RTX4070=12 RTX4090=24 RTX5060=8 RTX5070=12 RTX5090=32 RTX5880-Ada=48 RTX6000=24 RTX6000-Ada=48 RTX6000Ada=48
        RTXA4000=16 RTXA4500=20 RTXA5000=24 RTXA6000=48 RTXPRO6000=96 RTXPRO6000-WK=96 RTXPRO6000S=96 RTXPRO6000WS=96
        T4=16 T4g=16 V100=16 V100-32GB=32
        """,
    ),
    **_of("amd", "MI300X=192 Radeon_MI25=16 Radeon_Pro_V520=8"),
    **_of("intel", "Gaudi_HL-205=32"),
}
"""SkyPilot's name of a GPU → its maker and its GB, by the maker's own figures.

SkyPilot's table (catalogs/v8/common/metadata.csv) gives 80 for every GPU of Hopper and Blackwell.
"""
