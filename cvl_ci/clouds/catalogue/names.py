"""The names that SkyPilot uses for accelerators and regions. Data only, so that a wrong name fails offline."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# catalogs/v8/common/accelerators.csv of skypilot-org/skypilot-catalog, commits 001ca54 and d4d53f0 together.
# A name in this list need not have a price in prices.csv.
ACCELERATORS = (
    *_words("""
    A10 A100 A100-80GB A100-80GB-SXM A10G A16 A30 A40 A4000 A5000 A6000 A800 B200 B300 GH200 GTX1660S H100 H100-MEGA
    H100-NVL H100-NVLINK H100-SXM H200 H200-SXM K80 L4 L40 L40S M4000 M60 MI300X NVIDIA-H200-NVL P100 P4 P4000
    RTX2000-Ada RTX3060 RTX3070 RTX3080 RTX3090 RTX4000-Ada RTX4060 RTX4070 RTX4090 RTX5060 RTX5070 RTX5090
    RTX5880-Ada RTX6000 RTX6000-Ada RTX6000Ada RTXA4000 RTXA4500 RTXA5000 RTXA6000 RTXPRO6000 RTXPRO6000-WK
    RTXPRO6000S RTXPRO6000WS T4 T4g V100 V100-32GB tpu-v2 tpu-v3 tpu-v4 tpu-v5litepod tpu-v5p tpu-v6e
    """),
    # The names of AWS's DescribeInstanceTypes (NeuronDevices), as in sky/clouds/aws.py.
    *_words("Inferentia Inferentia2 Trainium Trainium2"),
    # CANONICAL_GPU_NAMES of sky/utils/gpu_names.py, SkyPilot 0.14.1: on Kubernetes and Slurm.
    *_words("B100 GB200 GB300 P40"),
    "Gaudi HL-205",
    "Radeon MI25",
    "Radeon Pro V520",
)

# The regions of a cloud that is not in this list are unknown: any is accepted.
REGIONS = {
    # ALL_REGIONS of sky/catalog/data_fetchers/fetch_aws.py, SkyPilot 0.14.1: the regions of its catalogue.
    "aws": _words("""
        us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 eu-central-1 eu-west-1 eu-west-2 eu-west-3 eu-south-1
        eu-south-2 eu-north-1 me-central-1 af-south-1 ap-east-1 ap-south-1 ap-southeast-1 ap-southeast-2
        ap-southeast-3 ap-southeast-4 ap-northeast-1 ap-northeast-2 ap-northeast-3
    """),
    # REGIONS of sky/catalog/data_fetchers/fetch_lambda_cloud.py, SkyPilot 0.14.1.
    "lambda": _words("""
        europe-central-1 asia-south-1 me-west-1 europe-south-1 asia-northeast-1 asia-northeast-2 australia-east-1
        us-east-1 us-east-2 us-east-3 us-west-1 us-west-2 us-west-3 us-south-1 us-south-2 us-south-3 us-midwest-1
    """),
    # The clouds' own public lists.
    "gcp": _words("""
        africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
        asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe-central2 europe-north1
        europe-north2 europe-southwest1 europe-west1 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8
        europe-west9 europe-west10 europe-west12 me-central1 me-central2 me-west1 northamerica-northeast1
        northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-east1
        us-east4 us-east5 us-south1 us-west1 us-west2 us-west3 us-west4
    """),
    "azure": _words("""
        australiacentral australiacentral2 australiaeast australiasoutheast austriaeast brazilsouth brazilsoutheast
        canadacentral canadaeast centralindia centralus chilecentral eastasia eastus eastus2 francecentral
        francesouth germanynorth germanywestcentral indonesiacentral israelcentral italynorth japaneast japanwest
        jioindiacentral jioindiawest koreacentral koreasouth malaysiawest mexicocentral newzealandnorth
        northcentralus northeurope norwayeast norwaywest polandcentral qatarcentral southafricanorth southafricawest
        southcentralus southeastasia southindia spaincentral swedencentral swedensouth switzerlandnorth
        switzerlandwest uaecentral uaenorth uksouth ukwest westcentralus westeurope westindia westus westus2 westus3
    """),
    "sandbox": ("us-east-1", "us-west-2"),
}
