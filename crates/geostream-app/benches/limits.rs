//! How long it takes to count a request against its client's rate: `cargo bench -p geostream-app`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use geostream_app::RateLimit;
use geostream_domain::{ClientKey, RequestLimit};

/// As many as are kept in mind.
const CLIENTS: u32 = 100_000;

fn takes(c: &mut Criterion) {
    for (name, per_second, clients) in
        [("no_limit", 0, 1), ("one_client", 1_000_000, 1), ("many_clients", 1_000_000, CLIENTS)]
    {
        let limit = RateLimit::new("bench", RequestLimit::new(per_second).expect("a limit"));
        let (began, mut number) = (start(), 0_u32);
        c.bench_function(&format!("rate_limit/{name}"), |b| {
            // The time passes with each request, as it would, so that nobody is refused.
            let next = || {
                number = number.wrapping_add(1);
                let client = ClientKey::of_bytes(&(number % clients).to_le_bytes());
                (client, began + Duration::from_micros(u64::from(number)))
            };
            b.iter_batched(
                next,
                |(client, now)| black_box(limit.take(client, now)),
                BatchSize::SmallInput,
            );
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

criterion_group!(benches, takes);
criterion_main!(benches);
