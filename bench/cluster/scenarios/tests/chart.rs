//! Axes and words of charts.

use crate::chart::*;

#[test]
fn lines_are_at_round_numbers_around_what_is_shown() {
    for (low, high, expected) in [
        (0.0, 37.0, [0.0, 40.0, 10.0]),
        (81.3, 94.1, [80.0, 95.0, 5.0]),
        (93.1, 93.9, [93.0, 94.0, 0.2]),
        (5.0, 5.0, [5.0, 6.0, 0.5]),
    ] {
        let axis = Axis::around(low, high, 4.0);
        let told = [axis.low, axis.high, axis.step];
        let is_near = told.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(is_near, "{low} to {high}: {axis:?}");
    }
}

#[test]
fn words_cannot_break_the_picture() {
    let mut svg = String::new();
    text(&mut svg, (1.0, 2.0), "end", "a < b & c");
    assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
}
