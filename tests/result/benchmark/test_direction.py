"""A name is read as a person reads it, or its direction is not known."""

from __future__ import annotations

import pytest

from cvl_ci.result.benchmark.direction import Direction, by_name, good

HIGHER = """
tokens_per_second tokens_per_second_per_gpu tokens_per_gpu_per_second tokensPerSecond samples/s it/s images_per_sec
requests_per_minute steps_per_hour gb_per_second widgets_per_second tokens_per_second_mean train.tokens_per_second
tokens_per_usd samples_per_dollar tokens_per_joule images_per_second_per_watt accuracy_per_dollar throughput_per_dollar
requests_to_failure time_to_failure mean_time_to_failure time_between_failures mean_time_between_failures hours_to_oom
steps_to_divergence requests_per_error hours_per_failure signal_to_noise
throughput goodput qps bandwidth_gb mfu scaling_efficiency success_rate pass_rate hit_rate cache_hit_rate win_rate
pass@1 passed tests_passed converged uptime availability episode_reward_mean accuracy_per_class text_to_image_recall
per_class_accuracy
"""
LOWER = """
time_to_accuracy timeToFirstToken time_to_first_token_ms time_to_train steps_to_loss epochs_to_converge
samples_to_target cost_to_accuracy dollars_to_target seconds_to_threshold mean_time_to_recovery
errors_per_second errors_per_request failed_requests_per_second failures_per_hour drops_per_second crashes_per_day
retries_per_request cost_per_hour usd_per_hour $_per_hour dollars_per_million_tokens usd_per_1k_tokens
cost_per_run price_per_token seconds_per_step ms_per_token s/step hours_per_epoch seconds_per_image joules_per_token
energy_per_step watts_per_gpu latency_per_token_ms memory_per_gpu bits_per_byte loss_per_token
failure_rate miss_rate error_count failed diverged oom crashes nan tpot_p99_ms runtime elapsed speech_to_text_wer
queue_time energy_joules co2
"""
UNKNOWN = """
steps_per_epoch samples_per_epoch tokens_per_batch gpus_per_node images_per_class samples_per_gpu batch_per_gpu
tokens_per_second_std seconds_per_step_std time_to_live bytes_to_disk tokens_to_process ratio_to_base learning_rate
dropout_rate loss_scale temperature token_count widgets widgets_to_gadgets speedup_over_baseline per to per_ _to
"""
TABLE = {
    **dict.fromkeys(HIGHER.split(), Direction.HIGHER),
    **dict.fromkeys(LOWER.split(), Direction.LOWER),
    **dict.fromkeys(UNKNOWN.split(), Direction.UNKNOWN),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_name_is_read_as_a_person_reads_it(name: str) -> None:
    assert by_name(name) is TABLE[name]


def test_the_better_one_of_yes_and_no_goes_by_the_direction() -> None:
    assert [good(True, by_name(name)) for name in ("passed", "diverged", "use_amp")] == [True, False, True]
    assert [good(False, by_name(name)) for name in ("passed", "diverged", "use_amp")] == [False, True, False]
