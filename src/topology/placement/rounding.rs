//! Rounds a matrix of fractions so that cells, rows and columns all stay within one.
//!
//! This is controlled rounding (Bacharach 1966; Cox 1987). Such a rounding always exists: the fractions are
//! themselves a flow from rows to columns within integral bounds, and then there is an integral flow too
//! (Ford and Fulkerson 1956). Used by `standby` to give every pair of owner and standby, and every standby in
//! total, its fair count. Pure.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// The fixed-point unit in which shares are given: 2³² parts.
pub(super) const ONE: u64 = 1 << 32;

/// Rounds every cell of `shares`, in parts of [`ONE`], up or down to an integer.
///
/// Each row must sum to a whole number of [`ONE`]s, and keeps that sum. Each column sum is rounded up or down
/// too. A cell or column that is whole stays as it is. Among the roundings that do all this, cells that
/// `prefers(row, column, integer part)` selects are rounded up first, then those with the largest fraction,
/// as far as the sums allow.
///
/// Takes O(cells × rows) time at worst.
pub(super) fn round(
    shares: &[Vec<u64>],
    prefers: impl Fn(usize, usize, u64) -> bool,
) -> Vec<Vec<u64>> {
    let mut grid = Grid::new(shares);
    grid.raise_greedily(shares, prefers);
    for row in 0..grid.cells.len() {
        while grid.row_needs[row] > 0 {
            grid.raise_one(row);
        }
    }
    shares
        .iter()
        .zip(&grid.cells)
        .map(|(row, cells)| {
            let raised = |cell: &Cell| u64::from(*cell == Cell::Raised);
            row.iter()
                .zip(cells)
                .map(|(share, cell)| share / ONE + raised(cell))
                .collect()
        })
        .collect()
}

/// The direction in which a cell is rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// It has no fraction.
    Whole,
    /// Down, so far.
    Lowered,
    /// Up, so far.
    Raised,
}

/// A rounding in progress. It has one row more than `shares`, the last, which makes every column sum whole:
/// if its cell is raised, the sum of that column is rounded down, and otherwise up.
struct Grid {
    cells: Vec<Vec<Cell>>,
    /// How many more cells of each row must be raised.
    row_needs: Vec<u64>,
    /// How many more cells of each column must be raised.
    column_needs: Vec<u64>,
}

impl Grid {
    fn new(shares: &[Vec<u64>]) -> Self {
        let columns = shares.first().map_or(0, Vec::len);
        let mut column_sums = vec![0; columns];
        for row in shares {
            for (sum, share) in column_sums.iter_mut().zip(row) {
                *sum += share % ONE;
            }
        }
        let balance: Vec<u64> = column_sums
            .iter()
            .map(|sum| sum.next_multiple_of(ONE) - sum)
            .collect();
        let rows = || shares.iter().chain([&balance]);
        let cell = |share: &u64| {
            if share.is_multiple_of(ONE) {
                Cell::Whole
            } else {
                Cell::Lowered
            }
        };
        let need = |row: &Vec<u64>| row.iter().map(|share| share % ONE).sum::<u64>() / ONE;
        Self {
            cells: rows().map(|row| row.iter().map(cell).collect()).collect(),
            row_needs: rows().map(need).collect(),
            column_needs: column_sums.iter().map(|sum| sum.div_ceil(ONE)).collect(),
        }
    }

    /// Raises cells in the order of preference, as long as both their row and their column need it.
    fn raise_greedily(&mut self, shares: &[Vec<u64>], prefers: impl Fn(usize, usize, u64) -> bool) {
        let mut order = Vec::new();
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                if *cell == Cell::Whole {
                    continue;
                }
                // The balancing row comes last: it takes what the others leave.
                let (preferred, fraction) = shares.get(row).map_or((false, 0), |shares| {
                    (
                        prefers(row, column, shares[column] / ONE),
                        shares[column] % ONE,
                    )
                });
                order.push((Reverse(preferred), Reverse(fraction), row, column));
            }
        }
        order.sort_unstable();
        for (_, _, row, column) in order {
            if self.row_needs[row] > 0 && self.column_needs[column] > 0 {
                self.cells[row][column] = Cell::Raised;
                self.row_needs[row] -= 1;
                self.column_needs[column] -= 1;
            }
        }
    }

    /// Raises one more cell of `start`, and keeps the sums of all other rows by raising one of
    /// their cells for each that it lowers: the shortest augmenting path, found breadth first.
    fn raise_one(&mut self, start: usize) {
        let mut row_from = vec![None; self.cells.len()];
        let mut column_from = vec![None; self.column_needs.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(row) = queue.pop_front() {
            for column in 0..self.column_needs.len() {
                if self.cells[row][column] != Cell::Lowered || column_from[column].is_some() {
                    continue;
                }
                column_from[column] = Some(row);
                if self.column_needs[column] > 0 {
                    self.column_needs[column] -= 1;
                    self.row_needs[start] -= 1;
                    return self.flip(start, column, &row_from, &column_from);
                }
                for (other, from) in row_from.iter_mut().enumerate() {
                    let is_new = other != start && from.is_none();
                    if is_new && self.cells[other][column] == Cell::Raised {
                        *from = Some(column);
                        queue.push_back(other);
                    }
                }
            }
        }
        unreachable!("the fractions are a flow that meets every row's need, so a path is left");
    }

    /// Walks the path that ends in `column` back to `start`, raising and lowering in turn.
    fn flip(
        &mut self,
        start: usize,
        mut column: usize,
        row_from: &[Option<usize>],
        column_from: &[Option<usize>],
    ) {
        loop {
            let row = column_from[column].expect("every column on the path was reached from a row");
            self.cells[row][column] = Cell::Raised;
            if row == start {
                return;
            }
            column = row_from[row].expect("every row but the first was reached from a column");
            self.cells[row][column] = Cell::Lowered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quota::apportion;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_and_columns_stay_within_one_and_rows_keep_their_sum(
            totals in prop::collection::vec(0..200u64, 1..12),
            weights in prop::collection::vec(prop::collection::vec(0..9u32, 9), 12),
            preferred in any::<u64>(),
        ) {
            let shares: Vec<Vec<u64>> = totals
                .iter()
                .zip(&weights)
                .map(|(total, weights)| apportion(total * ONE, weights, |_, _| false))
                .collect();
            let prefers =
                |row: usize, column: usize, _| preferred >> ((row * 9 + column) % 64) & 1 == 1;
            let rounded = round(&shares, prefers);
            for (shares, rounded) in shares.iter().zip(&rounded) {
                prop_assert_eq!(shares.iter().sum::<u64>(), rounded.iter().sum::<u64>() * ONE);
                for (share, rounded) in shares.iter().zip(rounded) {
                    prop_assert!((rounded * ONE).abs_diff(*share) < ONE);
                }
            }
            for column in 0..9 {
                let exact: u64 = shares.iter().map(|row| row[column]).sum();
                let rounded: u64 = rounded.iter().map(|row| row[column]).sum();
                prop_assert!((rounded * ONE).abs_diff(exact) < ONE);
            }
        }

        #[test]
        fn a_rounding_is_kept_by_preferring_its_raised_cells(
            totals in prop::collection::vec(0..200u64, 1..12),
            weights in prop::collection::vec(prop::collection::vec(0..9u32, 9), 12),
        ) {
            let shares: Vec<Vec<u64>> = totals
                .iter()
                .zip(&weights)
                .map(|(total, weights)| apportion(total * ONE, weights, |_, _| false))
                .collect();
            let first = round(&shares, |row, column, _| (row + column) % 2 == 0);
            let again = round(&shares, |row, column, floor| first[row][column] > floor);
            prop_assert_eq!(first, again);
        }
    }

    #[test]
    fn halves_are_rounded_without_favouring_a_row_or_a_column() {
        let half = ONE / 2;
        let rounded = round(&[vec![half, half], vec![half, half]], |_, _, _| false);
        assert_eq!(rounded, [[1, 0], [0, 1]]);
    }

    #[test]
    fn a_matrix_without_cells_is_rounded_to_itself() {
        assert_eq!(round(&[], |_, _, _| false), Vec::<Vec<u64>>::new());
        assert_eq!(
            round(&[vec![], vec![]], |_, _, _| false),
            [vec![], vec![]] as [Vec<u64>; 2]
        );
    }
}
