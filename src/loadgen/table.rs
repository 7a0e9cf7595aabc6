//! The report for people. Pure.

use std::fmt::{self, Display, Formatter};

use super::report::{Latency, Planned, Report};
use super::verify::Verification;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.plan)?;
        let end = if self.interrupted {
            ", interrupted"
        } else {
            ""
        };
        line(
            f,
            "measured",
            format_args!("{:.1} s{end}", self.measured_seconds),
        )?;
        line(
            f,
            "requests",
            format_args!(
                "{}: {} answered, {} failed",
                self.requests, self.answered_requests, self.failed_requests
            ),
        )?;
        for (name, count) in [
            ("unsent", self.unsent_requests),
            ("unfinished", self.unfinished_requests),
            ("warm-up", self.warmup_requests),
        ] {
            if count > 0 {
                line(f, name, format_args!("{count}"))?;
            }
        }
        let rate = format!("{:.1} answers/s", self.answered_per_second);
        match self.plan.rate_per_second {
            Some(intended) => line(f, "rate", format_args!("{rate} of {intended}/s intended"))?,
            None => line(f, "rate", format_args!("{rate}"))?,
        }
        if self.plan.rate_per_second.is_some() {
            let lag = Micros(self.greatest_lag_us);
            let late = self.late_requests;
            let lag = format_args!("{late} by more than 1 ms, the greatest lag was {lag}");
            line(f, "sent late", lag)?;
        }
        line(f, "connects", format_args!("{}", self.connects))?;
        line(f, "bodies", Bytes(self.body_bytes))?;
        let from = match self.plan.pacing {
            "open" => "from the intended send time to the end of the body",
            _ => "service time: from the send to the end of the body",
        };
        line(f, "latency", from)?;
        match &self.latency_us {
            Some(latency) => latencies(f, latency)?,
            None => line(f, "", "none: nothing was answered")?,
        }
        line(f, "statuses", counts(self.statuses.iter()))?;
        line(f, "failures", counts(self.failures.iter()))?;
        line(
            f,
            "replies",
            counts(
                self.replies
                    .named()
                    .iter()
                    .map(|(name, count)| (name, count)),
            ),
        )?;
        if let Some(ratio) = self.hit_ratio {
            line(f, "hit ratio", format_args!("{:.2} %", ratio * 100.0))?;
        }
        self.verification
            .as_ref()
            .map_or(Ok(()), |found| verification(f, found))
    }
}

/// The plan, in one line.
impl Display for Planned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.rate_per_second, &self.arrivals) {
            (Some(rate), Some(arrivals)) => write!(f, "open loop: {rate} requests/s, {arrivals}")?,
            _ => write!(f, "closed loop: {} connections", self.connections)?,
        }
        write!(
            f,
            "; {} over {} keys of {} at {}; seed {}",
            self.distribution,
            self.keys,
            self.group,
            self.urls.join(", "),
            self.seed
        )
    }
}

fn line(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<10} {value}")
}

fn latencies(f: &mut Formatter<'_>, latency: &Latency) -> fmt::Result {
    let mean = latency.mean.round() as u64;
    for (name, us) in [
        ("min", latency.min),
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p99_9),
        ("max", latency.max),
        ("mean", mean),
    ] {
        line(
            f,
            "",
            format_args!("{name:<6} {:>12}", Micros(us).to_string()),
        )?;
    }
    Ok(())
}

/// Lists what there is some of, with how many.
fn counts<N: Display>(all: impl Iterator<Item = (N, impl std::borrow::Borrow<u64>)>) -> String {
    let some = all.filter(|(_, count)| *count.borrow() > 0);
    let words: Vec<_> = some
        .map(|(name, count)| format!("{name} {}", count.borrow()))
        .collect();
    if words.is_empty() {
        "none".into()
    } else {
        words.join(" · ")
    }
}

fn verification(f: &mut Formatter<'_>, found: &Verification) -> fmt::Result {
    line(
        f,
        "verified",
        format_args!(
            "{} keys, {} different; {} changed during the run",
            found.keys_compared, found.keys_different, found.keys_changed
        ),
    )?;
    for difference in &found.differences {
        let length = |bytes: Option<u64>| match bytes {
            Some(bytes) => format!("{bytes} bytes"),
            None => "no such key".to_owned(),
        };
        line(
            f,
            "",
            format_args!(
                "{:?}: served {}, the origin has {}",
                difference.key,
                length(difference.served_bytes),
                length(difference.origin_bytes)
            ),
        )?;
    }
    match &found.failure {
        Some(failure) => line(
            f,
            "",
            format_args!("{} keys not compared: {failure}", found.keys_failed),
        ),
        None => Ok(()),
    }
}

/// Microseconds, as milliseconds once there are some.
pub(super) struct Micros(pub(super) u64);

impl Display for Micros {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ ..1000 => write!(f, "{us} µs"),
            us @ ..10_000_000 => write!(f, "{:.2} ms", us as f64 / 1e3),
            us => write!(f, "{:.1} s", us as f64 / 1e6),
        }
    }
}

struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut amount = self.0 as f64;
        for unit in ["bytes", "KiB", "MiB", "GiB"] {
            if amount < 1024.0 {
                let digits = usize::from(unit != "bytes");
                return write!(f, "{amount:.digits$} {unit}");
            }
            amount /= 1024.0;
        }
        write!(f, "{amount:.1} TiB")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::eventful;
    use super::*;

    #[test]
    fn the_table_shows_all_of_an_eventful_run() {
        let expected = "\
open loop: 1000 requests/s, even; zipf:0.99 over 1000 keys of scores at http://127.0.0.1:9999; seed 1

  measured   10.0 s
  requests   1010: 1000 answered, 4 failed
  unsent     6
  rate       100.0 answers/s of 1000/s intended
  sent late  7 by more than 1 ms, the greatest lag was 2.35 ms
  connects   12
  bodies     5.0 MiB
  latency    from the intended send time to the end of the body
             min            1 µs
             p50          500 µs
             p90          900 µs
             p99          990 µs
             p99.9        999 µs
             max         1.00 ms
             mean         501 µs
  statuses   200 990 · 503 10
  failures   connect 1 · timeout 3
  replies    hit 890 · stale 10 · miss 90 · untold 10 · stored 89 · standby 5
  hit ratio  90.00 %
  verified   400 keys, 1 different; 2 changed during the run
             \"key-7\": served 3 bytes, the origin has no such key
";
        assert_eq!(eventful().to_string(), expected);
    }

    #[test]
    fn amounts_are_shown_in_units_that_people_read() {
        for (amount, shown) in [(0, "0 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(Bytes(amount).to_string(), shown);
        }
        for (us, shown) in [(999, "999 µs"), (1500, "1.50 ms"), (12_000_000, "12.0 s")] {
            assert_eq!(Micros(us).to_string(), shown);
        }
    }
}
