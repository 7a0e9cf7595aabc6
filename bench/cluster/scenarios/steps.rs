//! The steps of a scenario, carried out one after the other.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::crowd::Crowd;
use super::plan::BETWEEN;
use super::run::{Run, group};
use super::scenario::Step;
use crate::testkit::network::Network;
use crate::testkit::processes::name;

/// How long a node may go on whose disk is full: until it is found out, and others own what it owned.
const FULL_PATIENCE: Duration = Duration::from_secs(40);

/// Between two commits meanwhile.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// The length of a statement that finds no room in the pages which a log has already.
const LONG_BYTES: usize = 12 << 10;

/// Which way to a node is cut.
#[derive(Clone, Copy)]
enum Cut {
    Both,
    /// It is not heard.
    Out,
    /// It does not hear.
    In,
}

impl Cut {
    fn apply(self, network: &Network, own: &[Ipv4Addr], others: &[Ipv4Addr]) {
        match self {
            Self::Both => network.cut(own, others),
            Self::Out => network.cut_one_way(own, others),
            Self::In => network.cut_one_way(others, own),
        }
    }
}

impl Run<'_> {
    /// Does what the scenario says.
    pub(crate) fn act(&mut self) -> anyhow::Result<()> {
        for (index, &step) in self.scenario.steps.iter().enumerate() {
            if index > 0 {
                self.watch.pause(BETWEEN)?;
            }
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        let running = self.cluster.running();
        match step {
            Step::Join => {
                let next = running.last().map_or(0, |last| last + 1);
                let what = format!("{} joins", name(next));
                self.settle(&what, |run| {
                    run.cluster.start(next);
                    Ok(())
                })
            }
            Step::Leave => self.leave(&running),
            Step::KillLeader => {
                let leader = self.cluster.leader()?;
                self.kill(&[leader])
            }
            Step::KillFollower => {
                let follower = self.follower(&running)?;
                self.kill(&[follower])
            }
            Step::KillZone => {
                let nodes = self.of_last_zone(&running);
                self.kill(&nodes)
            }
            Step::Freeze(seconds) => {
                let node = self.follower(&running)?;
                let names = [
                    format!("{} frozen", name(node)),
                    format!("{} goes on", name(node)),
                ];
                let freeze = |cluster: &mut Cluster<'_>| {
                    cluster.freeze(node);
                    Ok(())
                };
                self.absent(names, seconds, freeze, |cluster| {
                    cluster.thaw(node);
                    Ok(())
                })
            }
            Step::RestartAll => self.restart_all(&running),
            Step::CutZone(seconds) => {
                let nodes = self.of_last_zone(&running);
                let frontends: Vec<_> = (0..self.scenario.frontends).collect();
                let frontends = self.of_last_zone(&frontends);
                self.cut_off((&nodes, &frontends), Cut::Both, seconds)
            }
            Step::Mute(seconds) => {
                let node = self.follower(&running)?;
                self.cut_off((&[node], &[]), Cut::Out, seconds)
            }
            Step::Deaf(seconds) => {
                let node = self.follower(&running)?;
                self.cut_off((&[node], &[]), Cut::In, seconds)
            }
            Step::FillDisk(seconds) => self.fill_disk(Duration::from_secs(seconds)),
            Step::Crowd {
                loops,
                niceness,
                seconds,
            } => {
                let node = self.follower(&running)?;
                self.crowd(node, (loops, niceness), Duration::from_secs(seconds))
            }
        }
    }

    fn leave(&mut self, running: &[usize]) -> anyhow::Result<()> {
        let last = *running.last().context("no node runs")?;
        let mut leaver = None;
        self.settle(&format!("{} leaves", name(last)), |run| {
            leaver = Some(run.cluster.ask_to_stop(last)?);
            Ok(())
        })?;
        let mut leaver = leaver.context("it was asked")?;
        self.watch.ended(&mut leaver)?;
        self.event(format!("{} has ended", name(last)));
        Ok(())
    }

    fn restart_all(&mut self, running: &[usize]) -> anyhow::Result<()> {
        for (index, &node) in running.iter().enumerate() {
            if index > 0 {
                self.watch.pause(BETWEEN)?;
            }
            self.settle(&format!("{} restarts", name(node)), |run| {
                let mut leaver = run.cluster.ask_to_stop(node)?;
                run.watch.ended(&mut leaver)?;
                run.event(format!("{} has ended", name(node)));
                run.cluster.start(node);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        let what = format!("{} killed", names(nodes));
        self.settle(&what, |run| {
            run.cluster.kill(nodes);
            Ok(())
        })
    }

    /// Takes nodes away for so many seconds, and back.
    fn absent(
        &mut self,
        [gone, back]: [String; 2],
        seconds: u64,
        take: impl FnOnce(&mut Cluster<'_>) -> anyhow::Result<()>,
        give: impl FnOnce(&mut Cluster<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (began, time) = (Instant::now(), Duration::from_secs(seconds));
        self.settle(&gone, |run| take(&mut run.cluster))?;
        self.watch.pause(time.saturating_sub(began.elapsed()))?;
        self.settle(&back, |run| give(&mut run.cluster))
    }

    fn cut_off(
        &mut self,
        (nodes, frontends): (&[usize], &[usize]),
        cut: Cut,
        seconds: u64,
    ) -> anyhow::Result<()> {
        let place = &self.cluster.place;
        let all_nodes = self.cluster.running();
        let nodes_at = |index: &usize| place.node(*index);
        let frontends_at = |index: &usize| place.frontend(*index);
        let own: Vec<_> = nodes.iter().map(nodes_at).collect();
        let own = [own, frontends.iter().map(frontends_at).collect()].concat();
        let fronts: Vec<_> = (0..self.scenario.frontends).collect();
        let all: Vec<_> = all_nodes.iter().map(nodes_at).collect();
        let mut others = [all, fronts.iter().map(frontends_at).collect()].concat();
        others.retain(|host| !own.contains(host));
        let how = match cut {
            Cut::Both => "cut off",
            Cut::Out => "not heard",
            Cut::In => "hears nothing",
        };
        let names = [format!("{} {how}", names(nodes)), "links whole".into()];
        let nodes = nodes.to_vec();
        let take = |cluster: &mut Cluster<'_>| {
            let network = cluster.place.network().context("hosts of their own")?;
            cut.apply(network, &own, &others);
            cluster.part(&nodes);
            Ok(())
        };
        self.absent(names, seconds, take, |cluster| {
            let network = cluster.place.network().context("hosts of their own")?;
            network.heal();
            cluster.part(&[]);
            Ok(())
        })
    }

    fn fill_disk(&mut self, time: Duration) -> anyhow::Result<()> {
        let node = self.scenario.nodes - 1;
        let began = Instant::now();
        self.settle(&format!("{}'s disk full", name(node)), |run| {
            run.disk.as_ref().context("a small disk")?.fill();
            // Nothing is written where nothing is decided, and what is short still finds room in the last page of the
            // log: for seconds.
            let mut ttls = ["2h", "1h"].into_iter().cycle();
            run.watch
                .until("its node ends by itself", FULL_PATIENCE, || {
                    let ttl = ttls.next().unwrap_or("1h");
                    let groups = group(ttl, run.scenario.copies) + &long_group();
                    std::fs::write(run.folder.join("groups.toml"), groups)?;
                    // While a leader is chosen, there may be nobody to commit it.
                    let _committed = run.cluster.must(&["group", "apply", "groups.toml"]);
                    run.watch.pause(COMMIT_EVERY)?;
                    let has_ended = run.cluster.has_ended(node);
                    has_ended.then_some(()).context("it runs")
                })
        })?;
        self.event(format!("{} has ended", name(node)));
        self.watch.pause(time.saturating_sub(began.elapsed()))?;
        self.settle(&format!("{} starts with room", name(node)), |run| {
            run.disk.as_ref().context("a small disk")?.empty();
            run.cluster.start(node);
            Ok(())
        })
    }

    /// It may be taken from the ring meanwhile or not.
    fn crowd(&mut self, node: usize, how: (usize, i32), time: Duration) -> anyhow::Result<()> {
        self.event(format!("{} crowded", name(node)));
        let crowd = Crowd::around(self.cluster.process(node).id(), how, self.folder)?;
        self.watch.pause(time)?;
        self.settle(&format!("{} alone again", name(node)), |_| {
            drop(crowd);
            Ok(())
        })
    }

    /// Those of these indices that the last zone has.
    fn of_last_zone(&self, indices: &[usize]) -> Vec<usize> {
        let zones = self.scenario.zones;
        let is_there = |index: &usize| index % zones == zones - 1;
        indices.iter().copied().filter(is_there).collect()
    }

    /// A node that does not lead.
    fn follower(&self, running: &[usize]) -> anyhow::Result<usize> {
        let leader = self.cluster.leader()?;
        let mut others = running.iter().filter(|node| **node != leader);
        others.next_back().copied().context("only one node runs")
    }
}

/// A group that nobody asks for.
fn long_group() -> String {
    format!(
        "[groups.long]\nquery = 'SELECT k, v FROM public.rows WHERE k = ANY($1) -- {}'\nkey_type = 'bigint'\nttl = '1h'\n",
        "-".repeat(LONG_BYTES)
    )
}

fn names(nodes: &[usize]) -> String {
    let names: Vec<_> = nodes.iter().copied().map(name).collect();
    names.join(" and ")
}
