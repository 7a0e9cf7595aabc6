//! Which log is taken, and what a crash between any two stages leads to.

use tempfile::TempDir;

use super::work::{STAGES, Work};
use super::*;
use crate::ids::Incarnation;
use crate::raft::driver::{Driver, Settings};
use crate::raft::event::{Event, RequestId};
use crate::raft::latch::Published;
use crate::topology::commands::{Agreed, Command, GroupRef, SetGroups};
use crate::topology::fixtures::named;
use crate::topology::model::group::{GroupSpec, KeyType, Source};
use crate::topology::state::Founding;

const OLD: ClusterId = ClusterId(1);

/// The state of a cluster whose members are n1, n2 and n3.
fn three() -> State {
    let mut state = State::found(Founding {
        cluster: OLD,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: named("n1"),
    });
    for name in ["n2", "n3"] {
        state.apply(&Command::Join(named(name))).unwrap();
    }
    state
}

fn groups() -> Command {
    let spec = GroupSpec {
        source: Source::Query {
            statement: "SELECT k, v FROM rows WHERE k = ANY($1)".to_owned(),
            key_type: KeyType::Text,
        },
        content_type: "text/plain".to_owned(),
        ttl: std::time::Duration::from_secs(60),
        ttl_jitter: 0.1,
        stale: std::time::Duration::ZERO,
        stale_if_error: std::time::Duration::ZERO,
        negative_ttl: std::time::Duration::from_secs(5),
        error_ttl: std::time::Duration::from_millis(500),
        max_value_bytes: 1 << 20,
        on_isolated: crate::topology::model::group::OnIsolated::Serve,
        copies: 1,
    };
    Command::SetGroups(SetGroups {
        expected: 0,
        upserts: vec![("scores".into(), spec)],
        removed: Vec::new(),
        at_unix_ms: 0,
        note: String::new(),
    })
}

fn disk(root: &TempDir, name: &str) -> RocksDisk {
    let directory = Directory::new(root.path(), name).unwrap();
    directory.create().unwrap();
    RocksDisk::open_now(&directory.log()).unwrap()
}

/// A log of cluster `cluster` that ends where its founder began, and after `commands`.
fn write(root: &TempDir, name: &str, cluster: ClusterId, commands: &[Command]) {
    let mut disk = disk(root, name);
    let state = State::found(Founding {
        cluster,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: named("n1"),
    });
    let state = if cluster == OLD { three() } else { state };
    Driver::found(&mut disk, cluster, NodeId(1), &state).unwrap();
    if commands.is_empty() {
        return;
    }
    let mut driver = Driver::open(disk, Settings::default()).unwrap();
    while !driver.role().is_leader {
        let tick = &mut [Event::Tick].into_iter();
        driver.turn(tick, &mut |_| {}).unwrap();
    }
    for (n, command) in commands.iter().enumerate() {
        let propose = Event::Propose(RequestId(n as u64), command.encode());
        driver
            .turn(&mut [propose].into_iter(), &mut |_| {})
            .unwrap();
    }
}

/// A data directory of three nodes, of which n2 knows the most and n3 nothing yet.
fn lost() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let reset = Command::ResetGroup(GroupRef::Name("scores".into()));
    write(&root, "n1", OLD, &[groups()]);
    write(&root, "n2", OLD, &[groups(), reset]);
    Driver::join(&mut disk(&root, "n3"), OLD, NodeId(3)).unwrap();
    Root::open(root.path()).unwrap().publish(OLD).unwrap();
    root
}

fn survey(root: &TempDir) -> Survey {
    Survey::take(root.path(), true).unwrap()
}

/// What the operator does again and again.
fn recover(root: &TempDir) -> Recovered {
    let survey = survey(root);
    if survey.unfinished().is_some() {
        return survey.finish(None).unwrap().unwrap();
    }
    let plan = survey.plan(None, None).unwrap();
    survey.recover(plan).unwrap()
}

/// Asserts that the directory is the new cluster's and all that n2 knew is there.
fn assert_recovered(root: &TempDir, claim: &str) {
    let latched = Root::peek(root.path()).unwrap().unwrap();
    assert_ne!(latched, OLD, "{claim}");
    let survey = survey(root);
    assert!(survey.unfinished().is_none(), "{claim}");
    let mut found = survey.found().iter();
    let n2 = found.find(|found| found.directory == "n2").unwrap();
    let log = n2.log.as_ref().unwrap();
    assert_eq!(log.ident().cluster, latched, "{claim}");
    let state = log.state();
    assert_eq!(state.supersedes(), [OLD], "{claim}");
    let generations: Vec<_> = state.groups().map(|group| group.generation.0).collect();
    // The reset made it 2, the recovery 3.
    assert_eq!(generations, [3], "{claim}");
    let members: Vec<_> = state.members().map(|member| member.id).collect();
    assert_eq!(members, [NodeId(4)], "{claim}");
    let nonce = Directory::new(root.path(), "n2").unwrap().nonce().unwrap();
    assert_eq!(state.member(NodeId(4)).unwrap().nonce, nonce, "{claim}");
    drop(survey);
    // The node starts on it, as the first start of its incarnations.
    let driver = Driver::open(disk(root, "n2"), Settings::default()).unwrap();
    assert_eq!(driver.incarnation(), Incarnation(1), "{claim}");
}

#[test]
fn the_most_advanced_log_is_continued_and_kept_aside() {
    let root = lost();
    let plan = survey(&root).plan(None, None).unwrap();
    assert_eq!(plan.log.as_deref(), Some("n2"));
    let recovered = recover(&root);
    assert!(recovered.aside.unwrap().ends_with("nodes/n2~1"));
    assert_eq!(recovered.founder, NodeId(4));
    assert_recovered(&root, "once");
    // The others' logs lie where they were: their nodes set them aside.
    let ours = Root::open(root.path()).unwrap();
    let latched = ours.cluster().unwrap().unwrap();
    assert_eq!(ours.publish(OLD).unwrap(), Published::Lost(latched));
    assert!(root.path().join("nodes/n1/log").exists());
}

#[test]
fn after_a_crash_at_any_point_the_same_command_goes_on() {
    for done in 0..=STAGES.len() {
        let root = lost();
        let survey = survey(&root);
        let plan = survey.plan(None, None).unwrap();
        let cluster = plan.recovery.cluster;
        let mut work = Work::begin(survey, plan).unwrap();
        for stage in &STAGES[..done] {
            stage(&mut work).unwrap();
        }
        drop(work);
        let claim = format!("after {done} stages");
        if done < STAGES.len() {
            recover(&root);
        }
        assert_recovered(&root, &claim);
        let latched = Root::peek(root.path()).unwrap();
        assert_eq!(latched == Some(cluster), done > 2, "{claim}");
        assert!(!root.path().join("nodes/.recovery~n2").exists(), "{claim}");
    }
}

#[test]
fn a_draft_that_was_not_written_whole_is_made_anew() {
    let root = lost();
    let draft = root.path().join("nodes/.recovery~n2/log");
    std::fs::create_dir_all(&draft).unwrap();
    std::fs::write(draft.join("CURRENT"), "MANIFEST-0000").unwrap();
    recover(&root);
    assert_recovered(&root, "half a draft");
}

#[test]
fn nodes_that_started_too_early_do_no_harm() {
    let root = lost();
    let survey = survey(&root);
    let plan = survey.plan(None, None).unwrap();
    let mut work = Work::begin(survey, plan).unwrap();
    for stage in &STAGES[..3] {
        stage(&mut work).unwrap();
    }
    drop(work);
    // Each finds that the latch is another cluster's, sets its log aside and waits on an empty one.
    for name in ["n1", "n2", "n3"] {
        let directory = Directory::new(root.path(), name).unwrap();
        directory.set_aside("of another cluster").unwrap();
        drop(disk(&root, name));
    }
    recover(&root);
    assert_recovered(&root, "with nodes in between");
}

#[test]
fn a_begun_recovery_has_one_founder() {
    let root = lost();
    let first = survey(&root);
    let plan = first.plan(None, None).unwrap();
    let mut work = Work::begin(first, plan).unwrap();
    for stage in &STAGES[..4] {
        stage(&mut work).unwrap();
    }
    drop(work);
    let refused = survey(&root).finish(Some("n1")).unwrap_err();
    assert!(matches!(refused, RecoveryError::Begun { .. }));
    let plan = survey(&root).plan(None, Some(&"n1".into())).unwrap();
    let refused = survey(&root).recover(plan).unwrap_err();
    assert!(matches!(refused, RecoveryError::Begun { .. }));
    assert!(survey(&root).finish(Some("n2")).unwrap().is_some());
    assert_recovered(&root, "finished");
    assert!(survey(&root).finish(None).unwrap().is_none());
}

#[test]
fn a_log_in_use_refuses_the_whole() {
    let root = lost();
    let held = disk(&root, "n1");
    let refused = Survey::take(root.path(), true).unwrap_err();
    assert!(refused.to_string().starts_with("n1 runs"), "{refused}");
    drop(held);
    survey(&root);
    let nowhere = root.path().join("nowhere");
    let refused = Survey::take(&nowhere, true).unwrap_err();
    assert!(matches!(refused, RecoveryError::NoDirectory { .. }));
    assert!(!nowhere.exists());
}

#[test]
fn the_log_that_holds_the_most_is_taken_though_its_node_has_set_it_aside() {
    let root = lost();
    Directory::new(root.path(), "n2")
        .unwrap()
        .set_aside("an executable of an earlier version could not read it")
        .unwrap();
    // Its node waits on an empty log since then.
    drop(disk(&root, "n2"));
    let taken = survey(&root);
    let rated = taken.found().iter();
    let rated: Vec<_> = rated
        .map(|found| (&*found.directory, found.rating))
        .collect();
    let expected = [
        ("n1", Some(2)),
        ("n2", None),
        ("n2~1", Some(1)),
        ("n3", None),
    ];
    assert_eq!(rated, expected);
    let plan = taken.plan(None, None).unwrap();
    assert_eq!(plan.log.as_deref(), Some("n2~1"));
    assert_eq!(&*plan.recovery.founder.name, "n2");
    drop(taken);
    recover(&root);
    assert_recovered(&root, "from a log that was set aside");
}

#[test]
fn where_every_voters_log_is_in_place_nothing_is_lost() {
    let root = lost();
    let refused = survey(&root).check_loss().unwrap_err().to_string();
    assert!(
        refused.starts_with("the log of the only voter, n1, is intact"),
        "{refused}"
    );
    // A log that its node would set aside is not in place, and neither is one that was set aside.
    let latch = Root::open(root.path()).unwrap();
    latch.replace(ClusterId(9)).unwrap();
    survey(&root).check_loss().unwrap();
    latch.replace(OLD).unwrap();
    let n1 = Directory::new(root.path(), "n1").unwrap();
    n1.set_aside("suspect").unwrap();
    survey(&root).check_loss().unwrap();
    // Another member's log, after its node has joined anew.
    Driver::join(&mut disk(&root, "n1"), OLD, NodeId(4)).unwrap();
    survey(&root).check_loss().unwrap();
}

#[test]
fn a_recovery_is_recognised_until_its_founder_has_started() {
    let root = lost();
    assert!(survey(&root).done().is_none());
    let recovered = recover(&root);
    let again = survey(&root);
    let (founder, done) = again.done().unwrap();
    assert_eq!((founder, done.state), ("n2", recovered.state));
    let refused = again.check_loss().unwrap_err();
    assert!(matches!(refused, RecoveryError::NotStarted { .. }));
    drop(again);
    drop(Driver::open(disk(&root, "n2"), Settings::default()).unwrap());
    let started = survey(&root);
    assert!(started.done().is_none());
    let refused = started.check_loss().unwrap_err();
    assert!(matches!(refused, RecoveryError::Intact { .. }), "{refused}");
    drop(started);
    // Then it is lost, too.
    std::fs::remove_dir_all(root.path().join("nodes/n2")).unwrap();
    survey(&root).check_loss().unwrap();
}

#[test]
fn a_damaged_log_is_reported() {
    let root = lost();
    std::fs::remove_dir_all(root.path().join("nodes/n2")).unwrap();
    std::fs::write(root.path().join("nodes/n1/log/CURRENT"), "nonsense").unwrap();
    let refused = survey(&root).plan(None, None).unwrap_err().to_string();
    for words in ["n1: ", "n3: its node had heard nothing yet", "--from"] {
        assert!(refused.contains(words), "{words} in {refused}");
    }
    // A file is enough, if the founder is named.
    let refused = survey(&root).plan(Some(three()), None).unwrap_err();
    assert!(matches!(refused, RecoveryError::NoFounder { .. }));
    let plan = survey(&root)
        .plan(Some(three()), Some(&"n3".into()))
        .unwrap();
    let recovered = survey(&root).recover(plan).unwrap();
    assert_eq!(recovered.state.supersedes(), [OLD]);
}

#[test]
fn any_node_founds_also_one_that_was_no_member() {
    let root = lost();
    let refused = survey(&root).plan(None, Some(&"no name".into()));
    assert!(matches!(refused, Err(RecoveryError::Refused(_))));
    for (name, aside) in [("n1", Some("nodes/n1~1")), ("task-7", None)] {
        let root = lost();
        let plan = survey(&root).plan(None, Some(&name.into())).unwrap();
        assert_eq!(plan.log.as_deref(), Some("n2"));
        let recovered = survey(&root).recover(plan).unwrap();
        assert_eq!(recovered.aside, aside.map(|aside| root.path().join(aside)));
        assert!(root.path().join("nodes/n2/log").exists());
        let survey = survey(&root);
        assert!(survey.member(name).is_some() && survey.member("n2").is_none());
        assert_eq!(survey.done().unwrap().0, name);
    }
}

#[test]
fn a_node_that_waits_to_join_is_in_nobodys_way_and_founds_nothing_itself() {
    let root = lost();
    let waiting = disk(&root, "task-8");
    let taken = survey(&root);
    let mut found = taken.found().iter();
    let empty = found.find(|found| found.directory == "task-8").unwrap();
    assert!(empty.is_waiting && empty.log.is_err());
    let refused = taken.plan(None, Some(&"task-8".into())).unwrap_err();
    assert!(matches!(refused, RecoveryError::Running { .. }));
    drop(taken);
    recover(&root);
    assert_recovered(&root, "while a node waits");
    // One that has begun its log runs.
    let mut waiting = waiting;
    let latched = Root::peek(root.path()).unwrap().unwrap();
    Driver::join(&mut waiting, latched, NodeId(5)).unwrap();
    let refused = Survey::take(root.path(), true).unwrap_err();
    assert!(refused.to_string().starts_with("task-8 runs"), "{refused}");
}
