//! The ports' suites.

use geostream_ports::contract;

use crate::store;

#[tokio::test]
async fn it_keeps_the_contract_of_a_config_store() {
    contract::config_store(store).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_token_store() {
    contract::token_store(store).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_health_log() {
    contract::health_log(store).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_an_audit_log() {
    contract::audit_log(store).await;
}
