//! What a run is to do, checked before anything is sent: every mistake at once, with what would be
//! right. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

use crate::config::show_duration;
use crate::hash::MAX_KEY_BYTES;

/// What an open loop sends per second if neither a rate nor connections are given.
pub const DEFAULT_RATE_PER_SECOND: f64 = 1000.0;

/// How many connections an open loop may open by default.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// Each connection is a file descriptor, here and in the frontend.
pub const MAX_CONNECTIONS: usize = 16_384;

/// More than one generator can send.
pub const MAX_RATE_PER_SECOND: f64 = 1_000_000.0;

/// The largest key space: a Zipf sample needs no table, but 64-bit floats must distinguish the ranks.
pub const MAX_KEYS: u64 = 1_000_000_000;

/// The largest key space of a run that verifies: it keeps 13 bytes per key.
pub const MAX_VERIFIED_KEYS: u64 = 10_000_000;

/// How many frontends one run asks.
const MAX_URLS: usize = 64;

/// Beyond it nearly every request is for one key.
const MAX_EXPONENT: f64 = 10.0;

const MIN_DURATION: Duration = Duration::from_millis(100);
const MAX_DURATION: Duration = Duration::from_hours(24);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);

/// Where the index of a key stands in a key's format.
const PLACE: &str = "{}";

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// The key of rank r is asked for in proportion to r to the power of minus this exponent.
    Zipf(f64),
    /// All keys alike.
    Uniform,
    /// The first keys, this many, alike, and no other.
    Hot(u64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.split_once(':') {
            None if text == "uniform" => Some(Self::Uniform),
            Some(("zipf", exponent)) => exponent
                .parse()
                .ok()
                .filter(|exponent| *exponent > 0.0 && *exponent <= MAX_EXPONENT)
                .map(Self::Zipf),
            Some(("hot", keys)) => keys.parse().ok().filter(|keys| *keys > 0).map(Self::Hot),
            _ => None,
        };
        read.ok_or_else(|| {
            format!(
                "expected zipf:S with S above 0 and at most {MAX_EXPONENT}, uniform, or hot:K with K \
                 keys, for example zipf:0.99"
            )
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            Self::Uniform => f.write_str("uniform"),
            Self::Hot(keys) => write!(f, "hot:{keys}"),
        }
    }
}

/// How an open loop spaces its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// One after the other at equal distances.
    Even,
    /// At random, as many independent callers would.
    Poisson,
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "even" => Ok(Self::Even),
            "poisson" => Ok(Self::Poisson),
            _ => Err("expected even or poisson".into()),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        })
    }
}

/// What decides when a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pacing {
    /// The clock: a stall delays no later request's intended time, so that none of it is hidden.
    Open {
        /// Requests per second.
        rate_per_second: f64,
        /// Their spacing.
        arrivals: Arrivals,
        /// The bound on connections; at it, requests wait for one.
        max_connections: usize,
    },
    /// The answers: each connection sends the next request when its answer is in.
    Closed {
        /// How many.
        connections: usize,
    },
}

/// A frontend to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// A name or an address.
    pub host: String,
    /// 80 if the URL names none.
    pub port: u16,
    /// What stands before `/v1/`, usually nothing.
    pub base: String,
}

/// What was asked for, before it is checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Base URLs of frontends.
    pub urls: Vec<String>,
    /// The cache group.
    pub group: String,
    /// The size of the key space.
    pub keys: u64,
    /// How an index becomes a key.
    pub key_format: String,
    /// Which keys how often.
    pub distribution: Distribution,
    /// For an open loop.
    pub rate_per_second: Option<f64>,
    /// For an open loop.
    pub arrivals: Option<Arrivals>,
    /// For an open loop.
    pub max_connections: Option<usize>,
    /// For a closed loop.
    pub connections: Option<usize>,
    /// How long requests are recorded.
    pub duration: Duration,
    /// How long requests are sent before that.
    pub warmup: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// Decides the sequence of keys.
    pub seed: u64,
    /// Whether every body is compared with the origin.
    pub verifies: bool,
}

/// A checked plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// At least one.
    pub targets: Vec<Target>,
    /// The cache group.
    pub group: String,
    /// The size of the key space.
    pub keys: u64,
    /// How an index becomes a key.
    pub key_format: String,
    /// Which keys how often.
    pub distribution: Distribution,
    /// When requests are sent.
    pub pacing: Pacing,
    /// How long requests are recorded.
    pub duration: Duration,
    /// How long requests are sent before that.
    pub warmup: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// Decides the sequence of keys.
    pub seed: u64,
}

/// The plan cannot be carried out. One line per mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PlanError(Vec<String>);

impl Plan {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// Every mistake, with what would be right.
    pub fn new(options: Options) -> Result<Self, PlanError> {
        let mut mistakes = Vec::new();
        let targets = targets(&options.urls, &mut mistakes);
        check_keys(&options, &mut mistakes);
        check_times(&options, &mut mistakes);
        let pacing = pacing(&options, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(PlanError(mistakes));
        }
        Ok(Self {
            targets,
            group: options.group,
            keys: options.keys,
            key_format: options.key_format,
            distribution: options.distribution,
            pacing,
            duration: options.duration,
            warmup: options.warmup,
            timeout: options.timeout,
            seed: options.seed,
        })
    }

    /// Returns when the last request is due, from the start.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.warmup + self.duration
    }

    /// Returns what stands before and after the index in a key.
    #[must_use]
    pub fn key_parts(&self) -> (&str, &str) {
        self.key_format
            .split_once(PLACE)
            .expect("a plan's key format was checked")
    }
}

fn targets(urls: &[String], mistakes: &mut Vec<String>) -> Vec<Target> {
    if urls.is_empty() || urls.len() > MAX_URLS {
        mistakes.push(format!(
            "--url: {} given; expected 1 to {MAX_URLS}",
            urls.len()
        ));
    }
    let mut targets = Vec::new();
    for url in urls.iter().take(MAX_URLS) {
        match target(url) {
            Some(target) => targets.push(target),
            None => mistakes.push(format!(
                "--url: {url:?} is not a usable URL; give for example http://127.0.0.1:9999"
            )),
        }
    }
    targets
}

fn target(url: &str) -> Option<Target> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") || uri.query().is_some() {
        return None;
    }
    let host = uri.host().filter(|host| !host.is_empty())?;
    Some(Target {
        url: url.to_owned(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(80),
        base: uri.path().trim_end_matches('/').to_owned(),
    })
}

fn check_keys(options: &Options, mistakes: &mut Vec<String>) {
    if options.group.is_empty() {
        mistakes.push("--group is empty; give the name of a cache group".into());
    }
    let (most, why) = if options.verifies {
        (MAX_VERIFIED_KEYS, " with --verify-with")
    } else {
        (MAX_KEYS, "")
    };
    if options.keys == 0 || options.keys > most {
        mistakes.push(format!(
            "--keys is {}; expected 1 to {most}{why}",
            options.keys
        ));
    }
    if options.key_format.matches(PLACE).count() != 1 {
        mistakes.push(format!(
            "--key-format is {:?}; expected {{}} once, where the index goes, for example \"user-{{}}\"",
            options.key_format
        ));
    }
    let longest = options.key_format.len() + options.keys.to_string().len() - PLACE.len();
    if options.key_format.len() >= PLACE.len() && longest > MAX_KEY_BYTES {
        mistakes.push(format!(
            "--key-format makes keys of up to {longest} bytes; expected at most {MAX_KEY_BYTES}"
        ));
    }
    if let Distribution::Hot(hot) = options.distribution
        && hot > options.keys
    {
        mistakes.push(format!(
            "--distribution is hot:{hot}, and --keys is {}; expected at most that many hot keys",
            options.keys
        ));
    }
}

fn check_times(options: &Options, mistakes: &mut Vec<String>) {
    for (flag, given, min, max) in [
        ("--duration", options.duration, MIN_DURATION, MAX_DURATION),
        ("--warmup", options.warmup, Duration::ZERO, MAX_DURATION),
        ("--timeout", options.timeout, MIN_TIMEOUT, MAX_TIMEOUT),
    ] {
        if given < min || given > max {
            let [given, min, max] = [given, min, max].map(show_duration);
            mistakes.push(format!("{flag} is {given}; expected {min} to {max}"));
        }
    }
}

fn pacing(options: &Options, mistakes: &mut Vec<String>) -> Pacing {
    for (flag, given) in [
        ("--connections", options.connections),
        ("--max-connections", options.max_connections),
    ] {
        if let Some(given) = given
            && !(1..=MAX_CONNECTIONS).contains(&given)
        {
            mistakes.push(format!(
                "{flag} is {given}; expected 1 to {MAX_CONNECTIONS}"
            ));
        }
    }
    if let Some(connections) = options.connections {
        let of_open = [
            ("--rate", options.rate_per_second.is_some()),
            ("--arrivals", options.arrivals.is_some()),
            ("--max-connections", options.max_connections.is_some()),
        ];
        for (flag, _) in of_open.iter().filter(|(_, is_given)| *is_given) {
            mistakes.push(format!(
                "--connections is the closed loop and {flag} the open one; give one of them"
            ));
        }
        return Pacing::Closed { connections };
    }
    let rate_per_second = options.rate_per_second.unwrap_or(DEFAULT_RATE_PER_SECOND);
    // Written so that NaN is a mistake too.
    if !(rate_per_second > 0.0 && rate_per_second <= MAX_RATE_PER_SECOND) {
        mistakes.push(format!(
            "--rate is {rate_per_second}; expected more than 0 and at most {MAX_RATE_PER_SECOND} per second"
        ));
    }
    Pacing::Open {
        rate_per_second,
        arrivals: options.arrivals.unwrap_or(Arrivals::Even),
        max_connections: options.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
    }
}

#[cfg(test)]
pub(super) mod tests;
