//! Tables for people, as kubectl prints them: two blanks between the columns, and numbers to the
//! right. Pure.

use comfy_table::{CellAlignment, presets};

/// A column of a table: its heading, and where its cells are aligned.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Words, aligned to the left.
    Words(&'a str),
    /// Numbers, aligned to the right.
    Numbers(&'a str),
}

/// Lays out rows of cells below their headings. Every line ends with a line break and has no blanks
/// before it.
pub fn table<const N: usize>(
    columns: [Column<'_>; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(columns.map(|column| match column {
        Column::Words(heading) | Column::Numbers(heading) => heading,
    }));
    table.add_rows(rows);
    for (laid_out, column) in table.column_iter_mut().zip(columns) {
        laid_out.set_padding((0, 2));
        if matches!(column, Column::Numbers(_)) {
            laid_out.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_aligned_to_the_left_and_numbers_to_the_right() {
        let columns = [
            Column::Words("QUEUE"),
            Column::Numbers("READY"),
            Column::Words("NOTE"),
        ];
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["payments", "3", ""]), row(["  a", "12345678", "slow"])];
        assert_eq!(
            table(columns, rows),
            "QUEUE        READY  NOTE\npayments         3\n  a       12345678  slow\n"
        );
    }
}
