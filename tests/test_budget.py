"""Who may open a connection."""

from __future__ import annotations

from fetchq._budget import Budget


def test_both_bounds_hold() -> None:
    budget = Budget(3, 2)
    assert [budget.take(host) for host in "aaabbb"] == [True, True, False, True, False, False]
    budget.give("a")
    assert budget.take("b")


def test_jobs_come_before_borrowers() -> None:
    budget = Budget(2, 2)
    budget.wanted = True
    assert not budget.borrow("a")
    assert budget.take("a")
    budget.wanted = False
    assert budget.borrow("a")


def test_a_host_that_minds_is_left_whole() -> None:
    budget = Budget(4, 4)
    budget.leave_whole("a")
    assert not budget.borrow("a")
    assert budget.borrow("b")
    assert budget.take("a")


def test_whoever_waits_is_told() -> None:
    budget, told = Budget(1, 1), []
    budget.freed = lambda: told.append("freed")
    budget.take("a")
    budget.give("a")
    assert told == ["freed"]
