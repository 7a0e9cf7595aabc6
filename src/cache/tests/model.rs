//! Random histories against a naive model: what must be served, what must not, and the books after
//! every step. The model knows nothing of shards, locks, queues or budgets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEYS: u8 = 10;
const SMALL_BUDGET: u64 = 6_000;

#[derive(Clone, Debug)]
enum Step {
    Ask { key: u8, role: Role },
    Finish { which: usize, loaded: Answer },
    Abandon { which: usize },
    Leave { which: usize },
    Delete { key: u8 },
    Expire { key: u8 },
    Reset { group: u32 },
    NewTenure { inherits: bool },
    Later { ms: u64 },
    Sweep { max: usize },
}

#[derive(Clone, Debug)]
enum Answer {
    Value(usize),
    Absent,
    Failed(LoadErrorKind),
}

fn step() -> impl Strategy<Value = Step> {
    let role =
        prop_oneof![6 => Just(Role::Owner), 2 => Just(Role::Standby), 1 => Just(Role::LastResort)];
    let answer = prop_oneof![
        6 => (4usize..300).prop_map(Answer::Value),
        1 => (300usize..8_000).prop_map(Answer::Value),
        1 => Just(Answer::Absent),
        2 => Just(Answer::Failed(UNAVAILABLE)),
        1 => Just(Answer::Failed(LoadErrorKind::Overloaded)),
    ];
    let which = 0usize..8;
    prop_oneof![
        30 => (0..KEYS, role).prop_map(|(key, role)| Step::Ask { key, role }),
        24 => (which.clone(), answer).prop_map(|(which, loaded)| Step::Finish { which, loaded }),
        2 => which.clone().prop_map(|which| Step::Abandon { which }),
        4 => which.prop_map(|which| Step::Leave { which }),
        4 => (0..KEYS).prop_map(|key| Step::Delete { key }),
        3 => (0..KEYS).prop_map(|key| Step::Expire { key }),
        1 => (0u32..2).prop_map(|group| Step::Reset { group }),
        2 => any::<bool>().prop_map(|inherits| Step::NewTenure { inherits }),
        10 => prop_oneof![0u64..50, 100u64..700, 1_000u64..6_000].prop_map(|ms| Step::Later { ms }),
        2 => (0usize..5).prop_map(|max| Step::Sweep { max }),
    ]
}

/// What the model holds for a key.
#[derive(Clone, Debug)]
struct Known {
    value: Vec<u8>,
    kind: Kind,
    standby: bool,
    tenure: Tenure,
    generation: Generation,
    fresh_until: u64,
    stale_ms: u64,
    on_error_ms: u64,
    held_until: u64,
}

impl Known {
    fn phase(&self, now: u64) -> Phase {
        if now < self.fresh_until {
            Phase::Fresh
        } else if now < self.fresh_until + self.stale_ms {
            Phase::Stale
        } else if now < self.fresh_until + self.on_error_ms {
            Phase::StaleOnError
        } else {
            Phase::Dead
        }
    }
}

struct Air {
    number: u32,
    key: u8,
    role: Role,
    token: Token,
    started: Millis,
    is_open: bool,
    lead: Lead,
}

struct World {
    bench: Bench,
    /// Nothing is ever evicted or refused for room.
    is_exact: bool,
    generations: [Generation; 2],
    known: BTreeMap<u8, Known>,
    air: Vec<Air>,
    waits: Vec<(u32, Wait)>,
    flights: u32,
    values: u32,
}

fn group_of(key: u8) -> GroupId {
    GroupId(u32::from(key % 2))
}

fn hash_of(key: u8) -> KeyHash {
    KeyHash::of(group_of(key), &[key])
}

impl World {
    fn new(memory_bytes: u64, is_exact: bool) -> Self {
        let mut bench = Bench::limited(memory_bytes, 1_000, 1_000);
        bench.rules.max_value_bytes = 7_000;
        Self {
            bench,
            is_exact,
            generations: [Generation(1); 2],
            known: BTreeMap::new(),
            air: Vec::new(),
            waits: Vec::new(),
            flights: 0,
            values: 0,
        }
    }

    fn now(&self) -> u64 {
        self.bench.now.0
    }

    fn stamps(&self, key: u8) -> Stamps {
        Stamps {
            generation: self.generations[usize::from(key % 2)],
            ..self.bench.stamps
        }
    }

    /// Whether stamps of a fill are valid now.
    fn is_valid(&self, key: u8, tenure: Tenure, generation: Generation) -> bool {
        let stamps = self.stamps(key);
        generation == stamps.generation
            && (tenure == stamps.tenure || Some(tenure) == stamps.inherits)
    }

    fn servable(&self, key: u8, role: Role) -> Option<(&Known, Phase)> {
        let known = self.known.get(&key)?;
        let phase = known.phase(self.now());
        let is_seen = self.is_valid(key, known.tenure, known.generation)
            && known.standby == (role == Role::Standby)
            && role != Role::LastResort
            && phase != Phase::Dead;
        is_seen.then_some((known, phase))
    }

    /// The open flight that a caller joins; one that it must not join is closed.
    fn joined(&mut self, key: u8, role: Role) -> Option<u32> {
        let at = self
            .air
            .iter()
            .position(|f| f.is_open && f.key == key && f.role == role)?;
        let token = self.air[at].token;
        let age = self.bench.now.since(self.air[at].started);
        let is_in_time = role == Role::Owner || age <= STANDBY_MS;
        self.air[at].is_open = is_in_time && self.is_valid(key, token.tenure, token.generation);
        self.air[at].is_open.then_some(self.air[at].number)
    }

    fn ask(&mut self, key: u8, role: Role) {
        let name = [key];
        let request = Request {
            group: group_of(key),
            key: &name,
            hash: hash_of(key),
            role,
            stamps: self.stamps(key),
            now: self.bench.now,
        };
        let found = self.bench.cache.get_or_join(&request);
        let served = match &found {
            Found::Fresh(entry) | Found::Stale { entry, .. } => Some(entry),
            Found::Lead { fallback, .. }
            | Found::Wait { fallback, .. }
            | Found::Refused { fallback, .. } => fallback.as_ref(),
        };
        if served.is_none() && !self.is_exact {
            // Evicted, if it was there.
            if self.servable(key, role).is_some() {
                self.known.remove(&key);
            }
        }
        let expected = self
            .servable(key, role)
            .map(|(known, phase)| (known.clone(), phase));
        assert_eq!(
            served.map(|entry| (
                entry.value().to_vec(),
                entry.kind(),
                entry.phase(self.bench.now)
            )),
            expected
                .as_ref()
                .map(|(known, phase)| (known.value.clone(), known.kind, *phase)),
            "what is served for {key} as {role:?}"
        );
        let is_held = expected
            .as_ref()
            .is_some_and(|(known, _)| self.now() < known.held_until);
        let phase = expected.map(|(_, phase)| phase);
        match (found, phase) {
            (Found::Fresh(_), Some(Phase::Fresh)) => {}
            (Found::Stale { refresh: None, .. }, Some(_)) if is_held => {}
            (Found::Stale { refresh, .. }, Some(Phase::Stale)) if !is_held => {
                assert_eq!(
                    refresh.is_none(),
                    self.joined(key, role).is_some(),
                    "one refresher"
                );
                if let Some(lead) = refresh {
                    self.take_off(key, lead);
                }
            }
            (Found::Lead { lead, wait, .. }, None | Some(Phase::StaleOnError)) if !is_held => {
                assert_eq!(self.joined(key, role), None, "a second load of {key}");
                let number = self.take_off(key, lead);
                self.waits.push((number, wait));
            }
            (Found::Wait { wait, .. }, None | Some(Phase::StaleOnError)) if !is_held => {
                let number = self
                    .joined(key, role)
                    .expect("there is no flight to wait for");
                self.waits.push((number, wait));
            }
            (found, phase) => panic!("{found:?} in phase {phase:?}, held: {is_held}"),
        }
    }

    fn take_off(&mut self, key: u8, lead: Lead) -> u32 {
        self.flights += 1;
        let (role, token, started) = (lead.role(), lead.token(), lead.started());
        self.air.push(Air {
            number: self.flights,
            key,
            role,
            token,
            started,
            is_open: true,
            lead,
        });
        self.flights
    }

    fn finish(&mut self, which: usize, answer: &Answer) {
        if self.air.is_empty() {
            return;
        }
        let air = self.air.swap_remove(which % self.air.len());
        self.values += 1;
        let mut bytes = self.values.to_le_bytes().to_vec();
        let (kind, loaded) = match answer {
            Answer::Value(size) => {
                bytes.resize(*size, 0);
                (Kind::Value, Loaded::Value(&bytes))
            }
            Answer::Absent => {
                bytes.clear();
                (Kind::Negative, Loaded::Absent)
            }
            Answer::Failed(error) => {
                bytes = b"it failed".to_vec();
                (Kind::Error(*error), failed(*error))
            }
        };
        let fill = Fill {
            stamps: self.stamps(air.key),
            load_started: air.started,
            ..self.bench.fill()
        };
        let value = bytes.clone();
        let outcome = air.lead.finish(loaded, &fill);
        assert_eq!(
            (outcome.entry.kind(), outcome.entry.value()),
            (kind, &value[..])
        );
        self.deliver(air.number, &outcome);
        if !self.is_exact && outcome.stored {
            // Whatever the model would have kept in its place was evicted.
            self.known.remove(&air.key);
        }
        let flight = (air.key, air.role, air.token, air.started);
        let is_kept = air.is_open && self.keep(flight, kind, value);
        if self.is_exact {
            assert_eq!(outcome.stored, is_kept, "stored {kind:?} of {}", air.key);
        } else {
            assert!(is_kept || !outcome.stored, "stored {kind:?} of {}", air.key);
            if is_kept && !outcome.stored {
                self.known.remove(&air.key);
            }
        }
    }

    /// What a finished flight leaves in the model; whether its answer is stored.
    fn keep(&mut self, flight: (u8, Role, Token, Millis), kind: Kind, value: Vec<u8>) -> bool {
        let (key, role, token, started) = flight;
        let rules = self.bench.rules;
        let now = self.now();
        if role == Role::LastResort || !self.is_valid(key, token.tenure, token.generation) {
            return false;
        }
        let is_newer =
            |known: &Known| known.tenure > token.tenure || known.generation > token.generation;
        let old = self.known.get(&key);
        if old.is_some_and(|known| is_newer(known) && known.phase(now) != Phase::Dead) {
            return false;
        }
        if let Kind::Error(error) = kind {
            // A value of the owner's stays, too, when this member loads as a standby: it may be the owner's heir.
            let servable = |role| self.servable(key, role);
            let old = servable(role).or_else(|| servable(Role::Owner));
            let is_better = old.is_some_and(|(k, _)| k.kind == Kind::Value);
            if is_better && error.is_remembered() {
                let known = self.known.get_mut(&key).expect("it is servable");
                known.held_until = now + u64::from(rules.error_ttl_ms);
            }
            if is_better {
                return false;
            }
        }
        let lives = match kind {
            Kind::Value => u64::from(rules.ttl_ms),
            Kind::Negative => u64::from(rules.negative_ttl_ms),
            Kind::Error(error) => u64::from(rules.error_ttl_ms) * u64::from(error.is_remembered()),
        };
        let is_standby = role == Role::Standby;
        let left = (started.0 + STANDBY_MS).saturating_sub(now);
        let lives = if is_standby { lives.min(left) } else { lives };
        let has_windows = kind == Kind::Value && !is_standby;
        let is_too_large = kind == Kind::Value && value.len() as u64 > rules.max_value_bytes;
        if lives == 0 || is_too_large {
            if !matches!(kind, Kind::Error(_)) {
                self.known.remove(&key);
            }
            return false;
        }
        self.known.insert(
            key,
            Known {
                value,
                kind,
                standby: is_standby,
                tenure: token.tenure,
                generation: token.generation,
                fresh_until: now + lives,
                stale_ms: u64::from(has_windows) * u64::from(rules.stale_ms),
                on_error_ms: u64::from(has_windows) * u64::from(rules.stale_if_error_ms),
                held_until: 0,
            },
        );
        true
    }

    /// Those who wait for a flight get its outcome; all others still wait.
    fn deliver(&mut self, number: u32, outcome: &LoadOutcome) {
        let (landed, waiting) = std::mem::take(&mut self.waits)
            .into_iter()
            .partition(|(of, _)| *of == number);
        self.waits = waiting;
        let landed: Vec<(u32, Wait)> = landed;
        for (_, wait) in landed {
            let got = outcome_now(wait).expect("the flight has landed");
            assert!(got.entry.is_same(&outcome.entry) && got.stored == outcome.stored);
        }
    }

    fn abandon(&mut self, which: usize) {
        if self.air.is_empty() {
            return;
        }
        let Air { number, lead, .. } = self.air.swap_remove(which % self.air.len());
        drop(lead);
        while let Some(at) = self.waits.iter().position(|(of, _)| *of == number) {
            let outcome = outcome_now(self.waits.swap_remove(at).1).expect("it was abandoned");
            assert_eq!(outcome.entry.kind(), Kind::Error(LoadErrorKind::Internal));
        }
    }

    fn close(&mut self, gone: impl Fn(&Air) -> bool) {
        self.air
            .iter_mut()
            .filter(|air| gone(air))
            .for_each(|air| air.is_open = false);
    }

    fn expire(&mut self, key: u8) {
        let now = self.now();
        self.close(|air| air.key == key);
        self.bench
            .cache
            .expire(group_of(key), &[key], hash_of(key), self.bench.now);
        if let Some(known) = self.known.get_mut(&key) {
            known.fresh_until = known.fresh_until.min(now);
        }
    }

    fn reset(&mut self, group: u32) {
        self.generations[group as usize].0 += 1;
        let generation = self.generations[group as usize];
        self.bench.cache.reset(GroupId(group), generation);
        self.close(|air| group_of(air.key) == GroupId(group));
        self.known.retain(|&key, _| group_of(key) != GroupId(group));
        let left = self
            .bench
            .cache
            .stats()
            .groups
            .get(&GroupId(group))
            .map_or(0, |g| g.bytes);
        assert_eq!(left, 0, "a reset group has bytes");
    }

    fn new_tenure(&mut self, inherits: bool) {
        let old = self.bench.stamps.tenure;
        self.bench.stamps.tenure.0 += 1;
        self.bench.stamps.inherits = inherits.then_some(old);
        if !inherits {
            self.bench.cache.close_partitions(|_| true);
            self.close(|_| true);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask { key, role } => self.ask(key, role),
            Step::Finish { which, ref loaded } => self.finish(which, loaded),
            Step::Abandon { which } => self.abandon(which),
            Step::Leave { which } if !self.waits.is_empty() => {
                drop(self.waits.swap_remove(which % self.waits.len()));
            }
            Step::Leave { .. } => {}
            Step::Delete { key } => {
                self.bench.cache.delete(group_of(key), &[key], hash_of(key));
                self.close(|air| air.key == key);
                self.known.remove(&key);
            }
            Step::Expire { key } => self.expire(key),
            Step::Reset { group } => self.reset(group),
            Step::NewTenure { inherits } => self.new_tenure(inherits),
            Step::Later { ms } => self.bench.later(ms),
            Step::Sweep { max } => {
                assert!(self.bench.cache.sweep(self.bench.now, max) <= max);
            }
        }
        self.check();
    }

    fn check(&self) {
        self.bench.cache.check();
        let stats = self.bench.cache.stats();
        let sum = |of: fn(&GroupStats) -> u64| stats.groups.values().map(of).sum::<u64>();
        assert_eq!(stats.bytes, sum(|group| group.bytes));
        assert_eq!(stats.entries, sum(|group| group.entries));
        assert_eq!(stats.waiters, self.waits.len() as u64);
        let open = self.air.iter().filter(|air| air.is_open).count();
        assert_eq!(stats.flights, open as u64, "open flights");
        assert!(stats.entries <= u64::from(KEYS), "one entry per key");
    }

    fn run(mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
        self.air.clear();
        self.waits.clear();
        self.bench.assert_settled();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn with_room_for_all_the_cache_answers_as_the_model_does(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        World::new(1 << 20, true).run(&steps);
    }

    #[test]
    fn with_little_room_the_cache_forgets_but_never_serves_what_the_model_forbids(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        World::new(SMALL_BUDGET, false).run(&steps);
    }
}
