//! Credentials that live as long as a task: the port to back ends that issue them, and the vault for what is kept.
//!
//! *Nothing here decides whether a credential may be issued*, and no secret leaves this room but in [`Secret`]s, which
//! nobody prints. Start at [`source`]: what a back end has to be able to do. Each has a module of its own; [`open`] picks it.

pub mod account;
pub mod aws;
pub mod command;
pub mod fixed;
pub mod github;
pub mod google;
pub mod kubernetes;
pub mod mariadb;
pub mod means;
pub mod minted;
pub mod name;
pub mod nats;
pub mod oauth;
pub mod openbao;
pub mod postgres;
pub mod redis;
pub mod secret;
pub mod source;
pub mod ssh;
mod stream;
pub mod vault;
pub mod web;

use means::Means;
use portreeve_core::{names::Name, policy::BackEnd};
use source::Source;
use std::sync::Arc;

/// The source that a policy describes under this name
#[must_use]
pub fn open(name: &Name, back_end: &BackEnd, means: &Means) -> Arc<dyn Source> {
    let vault = Arc::clone(&means.vault);
    match back_end {
        BackEnd::Static(of) => Arc::new(fixed::Fixed::new(of.clone(), vault)),
        BackEnd::Command(of) => Arc::new(command::Command::new(of.clone(), vault)),
        BackEnd::Postgres(of) => Arc::new(postgres::Postgres::new(of.clone(), vault)),
        BackEnd::Minted(of) => Arc::new(minted::Minted::new(of.clone(), means.clone())),
        BackEnd::Oauth(of) => Arc::new(oauth::Oauth::new(of.clone(), means.clone())),
        BackEnd::Account(of) => Arc::new(account::Account::new(name.clone(), of.clone(), means.clone())),
        BackEnd::MariaDb(of) => Arc::new(mariadb::MariaDb::new(of.clone(), vault)),
        BackEnd::Redis(of) => Arc::new(redis::Redis::new(of.clone(), vault)),
        BackEnd::Nats(of) => Arc::new(nats::Nats::new(of.clone(), vault)),
        BackEnd::Kubernetes(of) => Arc::new(kubernetes::Kubernetes::new(of.clone(), vault)),
        BackEnd::Aws(of) => Arc::new(aws::Aws::new(of.clone(), vault)),
        BackEnd::GitHub(of) => Arc::new(github::GitHub::new(of.clone(), vault)),
        BackEnd::Google(of) => Arc::new(google::Google::new(of.clone(), means.clone())),
        BackEnd::Ssh(of) => Arc::new(ssh::Ssh::new(of.clone(), vault)),
        BackEnd::OpenBao(of) => Arc::new(openbao::OpenBao::new(of.clone(), vault)),
    }
}
