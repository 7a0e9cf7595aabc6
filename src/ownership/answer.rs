//! In which role a member answers a call, and how it answers a read. Pure.
//!
//! A member answers by its own view and its own lease, never by those of its caller.

use super::duty::Duty;
use crate::cache::Role;
use crate::topology::model::group::OnIsolated;
use crate::topology::view::Role as ViewRole;

/// How a read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With a refusal: the member is isolated.
    Refusal,
    /// With what is cached for this role, or with a load in it.
    LookUp(Role, Detail),
    /// With what is cached for this role and within its lifetime. If there is nothing, with a load as a last
    /// resort. Either way the answer says that the member is isolated.
    CachedOrLastResort(Role),
}

/// What a caller learns of the member that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// It does what it was asked for.
    Ordinary,
    /// It owns the key, and has the rights of a standby until all members know.
    Standby,
    /// It holds no lease.
    Isolated,
}

/// The role in which a member answers a call that asks it as `asked`, when its own view says `own`; none if it
/// may not answer.
#[must_use]
#[inline]
pub fn may_answer(asked: Role, own: ViewRole) -> Option<Role> {
    match (asked, own) {
        // A caller that believes the owner unreachable asks it as a standby: it answers as the owner.
        (Role::Owner | Role::Standby, ViewRole::Owner) => Some(Role::Owner),
        (Role::Standby, ViewRole::Standby) => Some(Role::Standby),
        (Role::LastResort, _) => Some(Role::LastResort),
        (Role::Owner, ViewRole::Standby | ViewRole::Neither)
        | (Role::Standby, ViewRole::Neither) => None,
    }
}

/// How a member answers a read as `role`, which is what [`may_answer`] returned.
#[must_use]
#[inline]
pub fn answer(duty: Duty, role: Role, on_isolated: OnIsolated) -> Answer {
    match (duty, on_isolated) {
        (Duty::Acts | Duty::TakesOver, _) => Answer::LookUp(role, Detail::Ordinary),
        // Another member may still act as the owner, and delete what this one would go on serving.
        (Duty::Arrives, _) => Answer::LookUp(Role::Standby, Detail::Standby),
        (Duty::Isolated, OnIsolated::Refuse) => Answer::Refusal,
        (Duty::Isolated, OnIsolated::Origin) => Answer::LookUp(Role::LastResort, Detail::Isolated),
        (Duty::Isolated, OnIsolated::Serve) => Answer::CachedOrLastResort(role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_answers_in_a_role_that_its_own_view_agrees_with() {
        use Role::{LastResort, Owner, Standby};
        // As what it is asked, and its answers if it is the owner, the standby, or neither.
        let table = [
            (Owner, [Some(Owner), None, None]),
            (Standby, [Some(Owner), Some(Standby), None]),
            (LastResort, [Some(LastResort); 3]),
        ];
        for (asked, expected) in table {
            let roles = [ViewRole::Owner, ViewRole::Standby, ViewRole::Neither];
            let found = roles.map(|own| may_answer(asked, own));
            assert_eq!(found, expected, "{asked:?}");
        }
    }

    #[test]
    fn a_read_is_answered_as_far_as_duty_and_group_allow() {
        use OnIsolated::{Origin, Refuse, Serve};
        use Role::{LastResort, Owner, Standby};
        let ordinary = |role| Answer::LookUp(role, Detail::Ordinary);
        let arriving = Answer::LookUp(Standby, Detail::Standby);
        let isolated = Answer::LookUp(LastResort, Detail::Isolated);
        // The duty, the role, and the answers by what the group wants of an isolated member.
        let table = [
            (Duty::Acts, Owner, [ordinary(Owner); 3]),
            (Duty::Acts, Standby, [ordinary(Standby); 3]),
            (Duty::Acts, LastResort, [ordinary(LastResort); 3]),
            (Duty::TakesOver, Owner, [ordinary(Owner); 3]),
            (Duty::Arrives, Owner, [arriving; 3]),
            (
                Duty::Isolated,
                Owner,
                [Answer::CachedOrLastResort(Owner), isolated, Answer::Refusal],
            ),
            (
                Duty::Isolated,
                Standby,
                [
                    Answer::CachedOrLastResort(Standby),
                    isolated,
                    Answer::Refusal,
                ],
            ),
        ];
        for (duty, role, expected) in table {
            let found = [Serve, Origin, Refuse].map(|wanted| answer(duty, role, wanted));
            assert_eq!(found, expected, "{duty:?} {role:?}");
        }
    }
}
