//! Mistakes that members can be told to make, each of which the histories must show. What can be wrong about
//! leases alone, such as one that is counted from its arrival or granted without a quorum, is in `lapses`.

use super::run;

/// Histories within which a mistake is found.
const HISTORIES: u64 = 400;

/// A late copy shows only if it comes between a delete at the heir and its next load: one history in several
/// hundred.
const LATE_COPY_HISTORIES: u64 = 800;

/// A mistake about ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// Entries do not carry the ownership that they were filled under.
    NoTenure,
    /// A load is kept although its flight was closed.
    NoToken,
    /// A delete is acknowledged before the next owner has heard of it.
    AcknowledgedAlone,
    /// What was taken back overtakes entries on the way to the next owner.
    Overtaken,
    /// The old owner is asked for a key that was taken back here.
    PeekAfterDelete,
    /// An entry of the old owner is kept although the key was taken back here.
    LateEntry,
    /// A member is down after one second.
    DownAfterOneSecond,
    /// What a standby keeps is timed from the end of its load.
    StandbyFromTheEnd,
    /// A generation comes back.
    GenerationRolledBack,
    /// A new owner acknowledges before the old one is known to have stopped.
    ActsAtOnce,
    /// A move is activated before all know that it was prepared.
    ActivatedUnsettled,
    /// An owner whose next one does not hear it goes on alone.
    BrokenIsOver,
    /// A standby does not take back what the owner has.
    CopyUntold,
    /// What was taken back overtakes copies on their way.
    CopyOvertaken,
    /// Copies of an earlier time count.
    CopiesForEver,
    /// Who stood by and owns now goes on keeping copies.
    LateCopy,
    /// A delete is acknowledged although a standby may not know that its copies do not count any more.
    DroppedUnsettled,
    /// What an owner had on its way before it was started again is kept.
    OldLine,
}

impl Slip {
    /// Whether it can only be made where standbys keep copies.
    pub(super) fn is_about_copies(self) -> bool {
        matches!(
            self,
            Self::CopyUntold
                | Self::CopyOvertaken
                | Self::CopiesForEver
                | Self::LateCopy
                | Self::DroppedUnsettled
                | Self::OldLine
        )
    }
}

fn is_caught(slip: Slip) {
    let histories = match slip {
        Slip::LateCopy => LATE_COPY_HISTORIES,
        _ => HISTORIES,
    };
    let found = (0..histories).find_map(|seed| run(seed, Some(slip), false).err());
    assert!(
        found.is_some(),
        "{histories} histories do not find {slip:?}"
    );
}

macro_rules! slips {
    ($($name:ident: $slip:ident,)*) => {
        $(#[test]
        fn $name() {
            is_caught(Slip::$slip);
        })*
    };
}

slips! {
    an_entry_without_its_tenure_is_caught: NoTenure,
    a_fill_without_a_token_is_caught: NoToken,
    an_acknowledgement_before_the_next_owner_has_it_is_caught: AcknowledgedAlone,
    an_invalidation_that_overtakes_an_entry_is_caught: Overtaken,
    a_peek_after_a_delete_is_caught: PeekAfterDelete,
    a_late_entry_after_a_delete_is_caught: LateEntry,
    down_after_one_second_is_caught: DownAfterOneSecond,
    a_standbys_copy_timed_from_the_end_is_caught: StandbyFromTheEnd,
    a_generation_that_comes_back_is_caught: GenerationRolledBack,
    a_new_owner_that_acts_at_once_is_caught: ActsAtOnce,
    an_activation_that_not_all_were_prepared_for_is_caught: ActivatedUnsettled,
    an_owner_that_goes_on_alone_is_caught: BrokenIsOver,
    a_standby_that_does_not_hear_of_deletes_is_caught: CopyUntold,
    a_delete_that_overtakes_a_copy_is_caught: CopyOvertaken,
    copies_of_an_earlier_time_are_caught: CopiesForEver,
    a_late_copy_is_caught: LateCopy,
    copies_dropped_before_all_know_are_caught: DroppedUnsettled,
    what_comes_late_from_before_a_start_is_caught: OldLine,
}
