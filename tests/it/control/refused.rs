//! Nodes that cannot be members are told why not, and so is who operates the cluster.

use std::net::Ipv4Addr;

use gcache::ids::{Incarnation, NodeId};
use gcache::rpc::control;
use gcache::rpc::control_proto::EnterRequest;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::rpc::pipeline::Target;
use gcache::topology::commands::{Agreed, COMMAND_VERSION, Command, Joiner, Resume};
use gcache::topology::model::member::Zone;

use crate::harness::grown::Grown;
use crate::testkit::wait::{PATIENCE, until};

fn joiner(name: &str) -> Joiner {
    Joiner {
        name: name.into(),
        host: "192.0.2.7".into(),
        raft_port: 7000,
        grpc_port: 8001,
        admin_port: 2112,
        zone: Zone::new("default"),
        weight: 1,
        incarnation: Incarnation(1),
        version: COMMAND_VERSION,
        settings: Agreed::ours(),
        nonce: 5,
        leaves_on_term: false,
    }
}

/// What the leader says to a node that asks for this, and the kind of refusal.
async fn refusal(target: &Target, command: &Command, cluster: u128) -> (String, String) {
    let request = EnterRequest {
        command: command.encode(),
        cluster: control::to_wire(cluster),
    };
    let reply = control::enter(target, request, PATIENCE)
        .await
        .expect("it answers");
    match reply.outcome {
        Some(Outcome::Refused(why)) => (why, reply.kind),
        other => panic!("{other:?} for {command:?}"),
    }
}

#[tokio::test]
async fn who_cannot_be_a_member_is_told_why_and_so_is_the_leaders_log() {
    let grown = Grown::start(3, 0).await;
    let leader = grown.leader().await;
    let host = grown
        .seeds()
        .split(',')
        .nth(leader)
        .expect("a seed")
        .to_owned();
    let target = Target {
        host,
        port: 8001,
        from: Ipv4Addr::UNSPECIFIED.into(),
    };
    let before = grown.json(&["cluster", "members"]).await;
    let other_hash = Joiner {
        settings: Agreed {
            hash: "md5".into(),
            ..Agreed::ours()
        },
        ..joiner("other-hash")
    };
    let nobody = Resume {
        id: NodeId(77),
        node: joiner("nobody"),
    };
    let stolen = Resume {
        id: NodeId(2),
        node: Joiner {
            incarnation: Incarnation(1_000),
            ..joiner("stolen")
        },
    };
    let old = Joiner {
        version: 0,
        ..joiner("old")
    };
    let status = control::status(&target, PATIENCE).await;
    let cluster = control::from_wire(&status.expect("it answers").cluster);
    let cluster = cluster.expect("it is in one");
    let cases = [
        (Command::Join(joiner("n1")), "\"n1\"", "name_taken"),
        (Command::Join(other_hash), "md5", "other_settings"),
        (Command::Join(old), "commands up to version 0", "too_old"),
        (Command::Join(joiner("Upper")), "Upper", "refused"),
        (Command::Resume(nobody), "member 77", "removed"),
        (Command::Resume(stolen), "stolen", "directory"),
    ];
    let (why, kind) = refusal(&target, &cases[0].0, cluster + 1).await;
    assert_eq!(kind, "other_cluster", "{why}");
    for (command, words, expected) in &cases {
        let (why, kind) = refusal(&target, command, cluster).await;
        assert_eq!(kind, *expected, "{why}");
        assert!(why.contains(words), "{words} in {why:?}");
        until("the leader's log has it", async || {
            let log = grown.nodes[leader].as_ref().map(|node| node.stderr());
            let log = log.unwrap_or_default();
            let mut told = log.lines().filter(|line| line.contains("node refused"));
            if told.any(|line| line.contains(&why.escape_debug().to_string())) {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }
    let after = grown.json(&["cluster", "members"]).await;
    assert_eq!(before, after, "nothing has changed");
}
