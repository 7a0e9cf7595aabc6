//! What breaks: members freeze, thaw and start again, links stop to carry in one direction or both.

use std::sync::Arc;

use super::member::Member;
use super::world::{FRONTENDS, Happening, World};
use crate::queue::{MILLISECOND, Micros};

/// Something that is broken and will be mended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Cut(u64, u64),
}

impl World {
    /// Something breaks, now and then.
    pub(super) fn fault(&mut self) {
        let after = self.dice.within(100..1_500) * MILLISECOND;
        self.queue.push(after, Happening::Fault);
        self.change_copies();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let one = self.dice.pick(&ids).expect("there are members");
        let other = self.dice.pick(&ids).expect("there are members");
        match self.dice.within(0..12) {
            0..3 => self.pause(one),
            3..5 => self.cut(&[(one, other)]),
            5 => self.cut(&[(one, other), (other, one)]),
            6 => {
                let away: Vec<_> = ids.iter().map(|id| (one, *id)).collect();
                match self.dice.chance(500) {
                    true => self.cut(&away),
                    // Others take over meanwhile, and what is on its way comes after that.
                    false => {
                        let after = self.dice.within(3_300..5_000) * MILLISECOND;
                        self.cut_for(&away, after);
                    }
                }
            }
            7 => {
                let home: Vec<_> = ids.iter().map(|id| (*id, one)).collect();
                self.cut(&home);
            }
            8 => {
                let all = ids.iter().flat_map(|id| [(one, *id), (*id, one)]);
                let all: Vec<_> = all.collect();
                self.cut(&all);
            }
            9 => self.restart(one),
            _ => {
                let until = self.now() + self.long();
                let frontend = one % FRONTENDS;
                self.stuck_until.insert(frontend, until);
            }
        }
    }

    /// Operators change how many copies there are: they are seldom off for long.
    fn change_copies(&mut self) {
        let state = self.latest().clone();
        let chance = match state.has_copies() {
            true => 150,
            false => 500,
        };
        if self.is_copied && self.dice.chance(chance) {
            let _done = self.commit(&Self::other_copies(&state));
        }
    }

    fn long(&mut self) -> Micros {
        match self.dice.chance(300) {
            true => self.dice.within(1_000..6_000) * MILLISECOND,
            false => self.dice.within(10..800) * MILLISECOND,
        }
    }

    fn pause(&mut self, id: u64) {
        let until = self.now() + self.long();
        let member = self.members.get_mut(&id).expect("it is there");
        member.paused_until = member.paused_until.max(until);
        self.tell(|| format!("{id} freezes until {until}"));
    }

    fn cut(&mut self, links: &[(u64, u64)]) {
        let after = self.long();
        self.cut_for(links, after);
    }

    fn cut_for(&mut self, links: &[(u64, u64)], after: Micros) {
        for (from, to) in links.iter().filter(|(from, to)| from != to) {
            if self.cut.insert((*from, *to)) {
                let mend = Happening::Mend(Fault::Cut(*from, *to));
                self.queue.push(after, mend);
            }
        }
        self.tell(|| format!("cut for {after}: {links:?}"));
    }

    pub(super) fn mend(&mut self, fault: Fault) {
        let Fault::Cut(from, to) = fault;
        self.cut.remove(&(from, to));
    }

    /// A process ends and starts again, with what was committed and an empty cache.
    fn restart(&mut self, id: u64) {
        if self.office.on == id || !self.dice.chance(400) {
            return;
        }
        self.seen.restarted += 1;
        let (start, index) = (self.members[&id].start + 1, self.members[&id].index);
        let (_, view) = &self.log[index];
        let mut member = Member::new(0, id, start, Arc::clone(view));
        member.index = index;
        member.paused_until = self.queue.now();
        self.members.insert(id, member);
        self.queue.push(0, Happening::Lease { member: id, start });
        let latest = self.log.len() - 1;
        let who = super::world::Who::Member(id);
        self.queue.push(
            20 * MILLISECOND,
            Happening::Learn {
                who,
                start,
                index: latest,
            },
        );
        // What it owns and is about to hand over, it hands over empty.
        let view = Arc::clone(&self.members[&id].view);
        self.begin_streams(id, &view);
        self.follow_copies(id, &view);
        self.tell(|| format!("{id} starts again"));
    }
}
