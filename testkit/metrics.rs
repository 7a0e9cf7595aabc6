//! Reading what processes count, in the text of their `/metrics`. Pure.

/// The sum of all samples of `name` whose labels include each of `labels`, written as `name="value"`; 0 if there is
/// none.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter_map(|line| sample(line, name, labels));
    samples.sum()
}

fn sample(line: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (shown, value) = rest.rsplit_once(' ')?;
    let is_it = shown.is_empty() || (shown.starts_with('{') && shown.ends_with('}'));
    let has_all = labels.iter().all(|label| shown.contains(label));
    (is_it && has_all).then(|| value.parse().expect("a sample is a number"))
}

#[test]
fn a_sample_is_found_by_its_name_and_labels_only() {
    let line = r#"gcache_x_total{group="a",outcome="found"} 3"#;
    assert_eq!(sample(line, "gcache_x_total", &[r#"group="a""#]), Some(3.0));
    assert_eq!(sample(line, "gcache_x_total", &[r#"group="b""#]), None);
    assert_eq!(sample(line, "gcache_x", &[]), None);
    assert_eq!(sample("gcache_x_total 4", "gcache_x_total", &[]), Some(4.0));
    assert_eq!(
        sample("# TYPE gcache_x_total counter", "gcache_x_total", &[]),
        None
    );
}
