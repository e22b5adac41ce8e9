//! The shortcuts of the hot path against the textbook.

use geostream_domain::GeoPoint;
use proptest::prelude::*;

use crate::world::point;

proptest! {
    #[test]
    fn dot_product_order_is_haversine_order(a in point(), b in point(), client in point()) {
        agree(a, b, client)?;
        // The antipode is where a cosine tells distances apart worst.
        let lon = if client.longitude() > 0.0 { -180.0 } else { 180.0 } + client.longitude();
        agree(a, GeoPoint::new(-client.latitude(), lon).unwrap(), client)?;
    }
}

/// Holds the order of two regions by dot product against the one by haversine, for distances that
/// differ by more than a metre near the client, and by more than rounding anywhere.
fn agree(a: GeoPoint, b: GeoPoint, client: GeoPoint) -> Result<(), TestCaseError> {
    let to = client.unit_vector();
    let (dot_a, dot_b) = (a.unit_vector().dot(to), b.unit_vector().dot(to));
    let (km_a, km_b) = (a.distance_km(client), b.distance_km(client));
    if (km_a - km_b).abs() > 0.001 && (dot_a - dot_b).abs() > 1e-14 {
        prop_assert_eq!(km_a < km_b, dot_a > dot_b, "{:?} {:?} from {:?}", a, b, client);
    }
    prop_assert!((km_a - km_b).abs() < 0.2 || dot_a != dot_b, "{} km against {} km", km_a, km_b);
    Ok(())
}
