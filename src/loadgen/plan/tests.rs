//! What may be asked of a run, and what is said of what may not.

use super::*;

/// Ten seconds of an open loop, as the defaults have it.
pub(in crate::loadgen) fn options() -> Options {
    Options {
        urls: vec!["http://127.0.0.1:9999".into()],
        group: "scores".into(),
        keys: 1000,
        key_format: "key-{}".into(),
        distribution: Distribution::Zipf(0.99),
        rate_per_second: None,
        arrivals: None,
        max_connections: None,
        connections: None,
        duration: Duration::from_secs(10),
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(10),
        seed: 1,
        verifies: false,
    }
}

#[test]
fn a_distribution_reads_back_and_nonsense_is_refused() {
    for text in ["zipf:0.99", "zipf:1", "uniform", "hot:10"] {
        assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "zipf",
        "zipf:",
        "zipf:0",
        "zipf:-1",
        "zipf:NaN",
        "zipf:11",
        "hot:0",
        "hot",
        "hot:-1",
        "uniform:1",
        "Zipf:1",
    ] {
        let error = text.parse::<Distribution>().unwrap_err();
        assert!(error.contains("zipf:0.99"), "{text}: {error}");
    }
}

#[test]
fn neither_rate_nor_connections_is_an_even_open_loop_of_1000() {
    let plan = Plan::new(options()).unwrap();
    let expected = Pacing::Open {
        rate_per_second: 1000.0,
        arrivals: Arrivals::Even,
        max_connections: 1024,
    };
    assert_eq!(plan.pacing, expected);
    assert_eq!(plan.key_parts(), ("key-", ""));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let wrong = Options {
        urls: vec!["https://h".into(), "nonsense with spaces".into()],
        group: String::new(),
        keys: 10,
        key_format: "user".into(),
        distribution: Distribution::Hot(11),
        rate_per_second: Some(5.0),
        connections: Some(0),
        duration: Duration::ZERO,
        ..options()
    };
    let error = Plan::new(wrong).unwrap_err();
    let reasons = [
        "\"https://h\" is not a usable URL",
        "\"nonsense with spaces\" is not",
        "--group is empty",
        "expected {} once",
        "hot:11, and --keys is 10",
        "--duration is 0ms; expected 100ms to 1d",
        "--connections is 0",
        "--connections is the closed loop and --rate the open one",
    ];
    assert_eq!(error.0.len(), reasons.len(), "{error}");
    for part in reasons {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[test]
fn rates_and_key_spaces_are_bounded() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
        let wrong = Options {
            rate_per_second: Some(rate),
            ..options()
        };
        let error = Plan::new(wrong).unwrap_err().to_string();
        assert!(error.contains("--rate is"), "{rate}: {error}");
    }
    for (keys, verifies, is_good) in [
        (0, false, false),
        (MAX_KEYS, false, true),
        (MAX_KEYS + 1, false, false),
        (MAX_VERIFIED_KEYS, true, true),
        (MAX_VERIFIED_KEYS + 1, true, false),
    ] {
        let plan = Plan::new(Options {
            keys,
            verifies,
            ..options()
        });
        assert_eq!(plan.is_ok(), is_good, "{keys} {verifies}");
    }
    let long = Options {
        key_format: format!("{}{{}}", "k".repeat(MAX_KEY_BYTES)),
        ..options()
    };
    assert!(Plan::new(long).is_err());
}

#[test]
fn a_target_may_have_a_port_a_path_and_an_ipv6_address() {
    let target = target("http://[::1]:81/cache/").unwrap();
    let parts = (target.host.as_str(), target.port, target.base.as_str());
    assert_eq!(parts, ("::1", 81, "/cache"));
    assert_eq!(super::target("http://h").unwrap().port, 80);
}
