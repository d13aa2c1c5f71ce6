//! The Azure LLM inference datasets of 2023 and 2024: a row for each request, with its time and its
//! tokens. Pure.
//!
//! Sources: the schema in
//! <https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md> and
//! <https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2024.md>; the
//! timestamps in `data/AzureLLMInferenceTrace_code.csv` there (seven digits after the second, no
//! offset, CRLF) and in `analysis/AzureLLMInferenceDataset2024.ipynb` (an offset; no fraction if it
//! is zero).
//!
//! There is no duration in the files: see [`TokenTimes`].

use super::error::TraceError;
use super::format::Rows;
use super::row::Line;
use super::selection::Selection;
use super::timestamp;
use super::tokens::TokenTimes;

const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

/// The rows of a trace in this format.
pub(super) struct AzureLlm {
    pub(super) times: TokenTimes,
}

impl AzureLlm {
    /// Whether this is the header.
    pub(super) fn is_header(line: &Line<'_>) -> bool {
        line.fields(&COLUMNS).is_ok_and(|fields| fields == COLUMNS)
    }
}

impl Rows for AzureLlm {
    fn name(&self) -> &'static str {
        "the Azure LLM inference dataset"
    }

    fn assumes(&self) -> Vec<String> {
        vec![self.times.assumption()]
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let fields = row.fields(&COLUMNS)?;
        let [time, context, generated] = COLUMNS;
        let arrives = timestamp::milliseconds(fields[0])
            .ok_or_else(|| row.wrong(time, timestamp::EXPECTED, fields[0]))?;
        let context = row.count(context, fields[1])?;
        let generated = row.count(generated, fields[2])?;
        tasks.begin(arrives);
        tasks.add(arrives, self.times.of(context, generated))
    }
}
