"""What is read out of an engine's Prometheus text."""

from hyperllama_nb.engines.gauges import Gauges

MAX = """\
# TYPE maxserve_cache_num_used_blocks gauge
maxserve_cache_num_used_blocks{device="cpu"} 3.0
maxserve_cache_num_used_blocks{device="gpu"} 1.0
maxserve_cache_num_total_blocks 16.0
maxserve_batch_size_bucket{batch_type="TG",le="1"} 1
maxserve_batch_size_sum{batch_type="CE"} 4
maxserve_batch_size_count{batch_type="CE"} 4
maxserve_batch_size_sum{batch_type="TG"} 20
maxserve_batch_size_count{batch_type="TG"} 8
maxserve_batch_size_summary nonsense
"""


def test_series_with_labels_are_added():
    assert Gauges.read(MAX) == Gauges(4.0, 16.0, 24.0, 12.0)


def test_the_batch_is_the_mean_of_the_steps_in_between():
    before, now = Gauges.read(MAX), Gauges(4.0, 16.0, 44.0, 16.0)
    assert now.batch_since(before) == 5.0
    assert now.batch_since(Gauges()) == 44 / 16
    assert now.batch_since(now) is None
    assert Gauges().batch_since(before) is None


def test_a_mean_since_the_start_will_do():
    text = "llamacpp:n_decode_total 8\nllamacpp:n_busy_slots_per_decode {}\n"
    before, now = (Gauges.read(text.format(mean)) for mean in (1.5, 2.0))
    assert before == Gauges(rows=12.0, steps=8.0)
    assert now.rows == 16


def test_what_is_not_told_or_not_a_number_is_unknown():
    text = "maxserve_cache_num_used_blocks many\nmaxserve_cache_num_total_blocks 0\n"
    assert Gauges.read(text) == Gauges()
    assert Gauges.read("") == Gauges()
