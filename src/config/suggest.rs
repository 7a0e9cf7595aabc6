//! "Did you mean": the nearest known name to an unknown one. Pure.

/// The longest name that is compared: the cost is the product of the lengths, and no name of ours
/// is half as long.
const MAX_COMPARED_CHARS: usize = 64;

/// Returns what to write instead of the unknown `name`: the nearest of `known`, or all of them.
pub(super) fn instead_of<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("expected one of {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The nearest of `known`, if it is near enough to be what was meant: at most a third of its
/// characters away, case aside.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.chars().take(MAX_COMPARED_CHARS + 1).count() > MAX_COMPARED_CHARS {
        return None;
    }
    let name = name.to_lowercase();
    known
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns how many characters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Three rows of the table are enough; two suffice without swaps.
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("port", "prot", 1),
            ("memroy", "memory", 1),
            ("ab", "cd", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_near_name_is_proposed_and_a_far_one_is_answered_with_the_list() {
        let known = ["memory", "grpc_port"];
        assert_eq!(
            instead_of("memroy", known.into_iter()),
            "did you mean memory?"
        );
        assert_eq!(
            instead_of("GRPC-PORT", known.into_iter()),
            "did you mean grpc_port?"
        );
        assert_eq!(
            instead_of("colour", known.into_iter()),
            "expected one of memory, grpc_port"
        );
        assert_eq!(
            instead_of(&"m".repeat(1_000_000), known.into_iter()),
            "expected one of memory, grpc_port"
        );
    }
}
