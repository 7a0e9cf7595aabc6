//! Counters of processes that come and go.

use std::collections::BTreeMap;

use crate::counters::*;

#[test]
fn metrics_are_summed_over_their_labels_and_not_over_longer_names() {
    let text = "# TYPE x\ngcache_cache_entries 7\ngcache_cache_entries_total 9\n\
                gcache_origin_loaded_keys_total{group=\"a b\",outcome=\"found\"} 3\n\
                gcache_origin_loaded_keys_total{group=\"a b\",outcome=\"absent\"} 2\n\
                gcache_origin_load_seconds_sum{group=\"rows\"} 0.5\n";
    let read = Counters::read(text);
    assert_eq!(
        (read.entries, read.keys, read.call_seconds),
        (7.0, 5.0, 0.5)
    );
}

fn sample(unix_ms: f64, nodes: &[(usize, f64)]) -> Sample {
    let counters = |&(node, calls): &(usize, f64)| {
        let counters = Counters {
            calls,
            keys: 2.0 * calls,
            ..Counters::default()
        };
        (node, counters)
    };
    Sample {
        unix_ms,
        nodes: nodes.iter().map(counters).collect(),
        cpu: BTreeMap::new(),
    }
}

#[test]
fn nodes_that_come_go_and_begin_anew_add_what_they_counted() {
    let totals = totals(&[
        // What was counted before the first sample is not of interest.
        sample(0.0, &[(0, 100.0), (1, 50.0)]),
        sample(1000.0, &[(0, 110.0), (1, 60.0)]),
        // The second is gone, a third one came.
        sample(2000.0, &[(0, 120.0), (2, 5.0)]),
        // The first began anew, the second answers again.
        sample(3000.0, &[(0, 3.0), (1, 61.0), (2, 5.0)]),
    ]);
    let calls: Vec<_> = totals.iter().map(|total| total.calls).collect();
    assert_eq!(calls, [0.0, 20.0, 35.0, 39.0]);
    assert_eq!(totals[3].keys, 78.0);
    for (unix_ms, calls) in [
        (-5.0, 0.0),
        (0.0, 0.0),
        (500.0, 10.0),
        (1500.0, 27.5),
        (9000.0, 39.0),
    ] {
        assert_eq!(at(&totals, unix_ms).calls, calls, "{unix_ms}");
    }
}
