//! The operator's metrics as other programs see them: what each is called and means, and single
//! samples of the text that `/metrics` serves. Pure, and depends on nothing.

mod sample;
mod spec;
pub mod table;

pub use sample::{Sample, name, sum};
pub use spec::{Kind, Spec};
