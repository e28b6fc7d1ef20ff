from demo.site_schedules import gradual, healthy, recurring, sudden


def test_healthy_never_changes() -> None:
    assert {healthy()(index) for index in range(100)} == {0.0}


def test_sudden_changes_at_the_onset() -> None:
    at = sudden(4.0, onset=10)
    assert [at(9), at(10), at(99)] == [0.0, 4.0, 4.0]


def test_gradual_grows_in_few_steps_and_arrives() -> None:
    at = gradual(4.0, onset=100, width=80, levels=8)
    values = [at(index) for index in range(300)]
    assert values[:100] == [0.0] * 100
    assert values[179:] == [4.0] * 121
    assert values == sorted(values)
    assert len(set(values)) == 9


def test_recurring_comes_and_goes() -> None:
    at = recurring(3.0, onset=5, period=4, share=0.5)
    assert [at(index) for index in range(3, 13)] == [0, 0, 3, 3, 0, 0, 3, 3, 0, 0]
