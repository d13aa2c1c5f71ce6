//! Names of the project's own images. No I/O.

/// One of the project's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// The operator.
    TaskqueueOperator,
    /// The order worker, which is also the payment gateway.
    OrderWorker,
}

impl Image {
    /// Both images.
    pub const ALL: [Self; 2] = [Self::TaskqueueOperator, Self::OrderWorker];

    /// The name of its binary, of its stage in the Dockerfile, and of its repository.
    pub fn binary(self) -> &'static str {
        match self {
            Self::TaskqueueOperator => "taskqueue-operator",
            Self::OrderWorker => "order-worker",
        }
    }

    /// Its name in the sandbox: repository and tag.
    pub fn reference(self) -> String {
        format!("localhost/{}:{}", self.binary(), env!("CARGO_PKG_VERSION"))
    }
}
