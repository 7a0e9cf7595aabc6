//! Errors and the wire's status numbers: the only place where one becomes the other.

use tonic::Code;

use super::proto::{Answer, Status};
use crate::cache::LoadErrorKind;

/// The wire's number for a failed load.
#[must_use]
pub fn of_load(kind: LoadErrorKind) -> Status {
    match kind {
        LoadErrorKind::Unavailable => Status::OriginUnavailable,
        LoadErrorKind::Timeout => Status::OriginTimeout,
        LoadErrorKind::BadStatement => Status::BadStatement,
        LoadErrorKind::BadValue => Status::BadValue,
        LoadErrorKind::BadKey => Status::BadKey,
        LoadErrorKind::Overloaded => Status::Overloaded,
        LoadErrorKind::Internal => Status::Internal,
    }
}

/// Returns what a unary caller gets for an answer that is not a value; none for one that is.
#[must_use]
pub fn to_grpc(answer: &Answer) -> Option<tonic::Status> {
    let code = match answer.status() {
        Status::Ok => return None,
        Status::Absent | Status::NoSuchGroup => Code::NotFound,
        Status::NotOwner => Code::FailedPrecondition,
        Status::BadKey => Code::InvalidArgument,
        Status::TooLarge => Code::OutOfRange,
        Status::Overloaded => Code::ResourceExhausted,
        Status::Deadline | Status::OriginTimeout => Code::DeadlineExceeded,
        Status::OriginUnavailable | Status::Isolated => Code::Unavailable,
        Status::BadStatement | Status::BadValue | Status::Internal => Code::Internal,
    };
    let mut status = tonic::Status::new(code, answer.message.clone());
    if answer.status() == Status::NotOwner {
        status
            .metadata_mut()
            .insert("gcache-epoch", answer.epoch.into());
    }
    Some(status)
}
