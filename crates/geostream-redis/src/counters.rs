//! Buckets of tokens that nodes share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fred::types::Value;
use fred::types::scripts::Script;
use geostream_domain::{LeaseRequest, Rate};
use geostream_ports::{CounterKey, SharedCounters, Unavailable};

use crate::connection::Redis;
use crate::error::RedisError;

/// Buckets of tokens, in Redis.
///
/// A bucket is one key: the moment at which it would be full again, in microseconds of the server's
/// clock, which is also when the key ends. Many are asked for by one script.
#[derive(Clone, Debug)]
pub struct RedisCounters {
    redis: Redis,
}

/// Over so many places the buckets are spread in a cluster; those of one place are asked for at once.
const PLACES: u64 = 8;

static LEASE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("lua/lease.lua")));

impl RedisCounters {
    /// Keeps buckets there.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Asks for the buckets of one place.
    async fn ask(
        &self,
        rate: Rate,
        reserved: u32,
        requests: &[(CounterKey, LeaseRequest)],
    ) -> Result<Vec<u32>, RedisError> {
        let keys = requests.iter().map(|(key, _)| self.name(*key)).collect();
        let interval = rate.interval().as_secs_f64() * 1e6;
        let mut arguments: Vec<Value> = vec![
            interval.to_string().into(),
            rate.burst().to_string().into(),
            reserved.to_string().into(),
        ];
        for (_, LeaseRequest { spent, wanted }) in requests {
            arguments.extend([spent.to_string().into(), wanted.to_string().into()]);
        }
        let answer = self.redis.run(&LEASE, keys, arguments).await?;
        let tokens: Vec<u32> =
            answer.convert().map_err(|error| RedisError::nonsense("leases", error))?;
        if tokens.len() != requests.len() {
            return Err(RedisError::nonsense("leases", "not one for each request"));
        }
        Ok(tokens)
    }

    fn name(&self, CounterKey { purpose, number }: CounterKey) -> String {
        let place = number % PLACES;
        self.redis.name(&format!("{{rate{place}}}:{purpose}:{number:016x}"))
    }
}

impl SharedCounters for RedisCounters {
    async fn lease(
        &self,
        rate: Rate,
        reserved: u32,
        requests: Vec<(CounterKey, LeaseRequest)>,
    ) -> Result<Vec<Option<u32>>, Unavailable> {
        let mut places = BTreeMap::<u64, Vec<usize>>::new();
        for (position, (key, _)) in requests.iter().enumerate() {
            places.entry(key.number % PLACES).or_default().push(position);
        }
        let mut tokens = vec![None; requests.len()];
        let mut failed = None;
        for positions in places.into_values() {
            let there: Vec<_> = positions.iter().map(|&position| requests[position]).collect();
            // In a cluster, the node that has one place may be away while the others answer.
            match self.ask(rate, reserved, &there).await {
                Ok(leased) => {
                    for (position, leased) in positions.into_iter().zip(leased) {
                        tokens[position] = Some(leased);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if tokens.iter().all(Option::is_none) => Err(error.into()),
            Some(_) | None => Ok(tokens),
        }
    }
}
