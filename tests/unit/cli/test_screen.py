"""Text that fits a terminal."""

from hamgr.cli.screen import clipped, folded


def test_long_lines_are_broken_between_words_and_stay_below_each_other():
    text = "  * one two three four\n    short"
    assert folded(text, 14) == "  * one two\n      three\n      four\n    short"
    assert folded(text, 80) == text


def test_a_word_that_is_too_long_and_a_line_of_columns_stay_whole():
    assert folded("  pvc-6eb44b70-3294-4160 x", 10) == "  pvc-6eb44b70-3294-4160\n      x"
    assert folded("    disk\t(hamgr:volume):\t Started n1", 10) == "    disk\t(hamgr:volume):\t Started n1"


def test_what_does_not_fit_is_counted():
    assert clipped("a\nb\nc", 3) == "a\nb\nc"
    assert clipped("a\nb\nc\nd", 3) == "a\nb\n... 2 more lines: `hamgr status`, or a taller window"
