//! Consecutive partitions of which a command says the same. Pure.

use crate::ids::Partition;

/// Partitions in ascending order as few runs as can be: the first of each, how many they are, and what is
/// said of them.
pub(in crate::topology) fn runs<T: PartialEq>(
    said: impl IntoIterator<Item = (Partition, T)>,
) -> Vec<(Partition, u16, T)> {
    let mut runs: Vec<(Partition, u16, T)> = Vec::new();
    for (partition, what) in said {
        match runs.last_mut() {
            Some((first, count, known)) if first.0 + *count == partition.0 && *known == what => {
                *count += 1;
            }
            _ => runs.push((partition, 1, what)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_a_gap_and_where_something_else_is_said() {
        let said = [(3, 'a'), (4, 'a'), (5, 'b'), (7, 'b'), (8, 'b'), (9, 'a')];
        let found = runs(said.map(|(partition, what)| (Partition(partition), what)));
        let found = found
            .into_iter()
            .map(|(first, count, what)| (first.0, count, what));
        let expected = [(3, 2, 'a'), (5, 1, 'b'), (7, 2, 'b'), (9, 1, 'a')];
        assert!(found.eq(expected));
        assert!(runs::<()>([]).is_empty());
    }
}
