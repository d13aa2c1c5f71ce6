//! Reaches Kubernetes, for the operator and for the command line: what a kubeconfig says, a client
//! whose calls end, and its errors in words without what may be secret. Reads the kubeconfig and
//! opens connections; decides nothing.

pub mod client;
pub mod kube_error;
pub mod kubeconfig;
pub mod port_forward;
pub mod proxy;
