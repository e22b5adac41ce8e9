//! What services would lack without a region.

use geostream_domain::{
    Capacity, Change, ClientSelector, Config, Continent, FenceRule, GeoPoint, Geofence, Health,
    Labels, Load, Observation, Observations, Override, OverrideAction, Region, RegionId, Service,
    Shortage, Timestamp,
};

use crate::world::line;

const NOW: Timestamp = Timestamp::EPOCH;

/// Regions as a test writes them: `eu well 60/100`, with what is seen or wished of each, and its
/// load and capacity.
struct Scene {
    config: Config,
    observed: Observations,
}

impl Scene {
    fn of(text: &str) -> Self {
        let mut changes = Vec::new();
        let mut observed = Observations::default();
        let mut members = Vec::new();
        for words in text.split(", ").map(|region| region.split(' ').collect::<Vec<_>>()) {
            let [id, state, numbers @ ..] = &words[..] else { panic!("{words:?}") };
            let id: RegionId = id.parse().unwrap();
            let mut region = Region::new(id.clone(), GeoPoint::new(0.0, 0.0).unwrap());
            let (load, capacity) =
                numbers.first().and_then(|numbers| numbers.split_once('/')).unzip();
            region.capacity = capacity.map(|units| Capacity::new(units.parse().unwrap()).unwrap());
            let residency = ("residency".parse().unwrap(), id.as_str().parse().unwrap());
            region.labels = Labels::new([residency].into()).unwrap();
            changes.push(Change::from(region));
            let (health, action) = match *state {
                "unseen" => (Health::Unknown, None),
                "well" => (Health::Healthy, None),
                "dead" => (Health::Unhealthy, None),
                "drained" => (Health::Healthy, Some(OverrideAction::Drain)),
                "down" => (Health::Healthy, Some(OverrideAction::Down)),
                "up" => (Health::Unhealthy, Some(OverrideAction::Up)),
                other => panic!("{other}"),
            };
            let load = load.map(|units| Load::new(units.parse().unwrap()).unwrap());
            observed.note(id.clone(), Observation { load, ..Observation::of(health, NOW) });
            changes.extend(action.map(|action| overridden(&id, action)));
            members.push(id);
        }
        changes.push(Change::from(Service::new("api".parse().unwrap(), members)));
        Self { config: Config::default().after(changes).unwrap(), observed }
    }

    fn without(&self, region: &str) -> String {
        let region = region.parse().unwrap();
        let shortages = Shortage::without(&region, &self.config, &self.observed, NOW);
        shortages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

fn overridden(region: &RegionId, action: OverrideAction) -> Change {
    let (owner, reason, region) = (line("ops"), line("test"), region.clone());
    Change::SetOverride(Override { region, action, owner, reason, since: NOW, expires: None })
}

#[track_caller]
fn check(regions: &str, expected: &str) {
    assert_eq!(Scene::of(regions).without("eu"), expected, "{regions}");
}

#[test]
fn the_last_region_that_can_serve_is_missed() {
    const NOBODY: &str = "api: no region is left that can serve its clients";
    check("eu well", NOBODY);
    check("eu well, us well", "");
    check("eu well, us unseen", "");
    check("eu well, us up", "");
    for state in ["dead", "drained", "down"] {
        check(&format!("eu well, us {state}"), NOBODY);
        check(&format!("eu well, us {state}, ap well"), "");
    }
    // The budget keeps some of the dead in service, and that is no reason to drain the living.
    check("eu well, us dead, ap dead, sa dead", NOBODY);
    assert_eq!(Scene::of("us well").without("eu"), "", "nobody misses what is not there");
}

#[test]
fn too_little_declared_room_is_said() {
    let short = "api: the regions that are left have room for 50, and the drained one has a load \
                 of 60";
    check("eu well 60/100, us well 50/100", short);
    check("eu well 60/100, us well 80/100, ap well 70/100", short);
    check("eu well 60/100, us well 40/100", "");
    check("eu well 60/100, us well 50/100, ap well", "");
    check("eu well 60/100, us well 50/100, ap dead 0/100", short);
    check("eu well, us well 50/100", "");
    // Its clients are with the others already.
    check("eu drained 60/100, us well 90/100", "");
}

#[test]
fn clients_behind_a_fence_are_missed_for_themselves() {
    let mut scene = Scene::of("eu well, us well");
    let mut service = Service::clone(&scene.config.services()["api"]);
    service.geofence = Geofence::new(vec![FenceRule {
        clients: ClientSelector { continents: vec![Continent::Europe], ..<_>::default() },
        allow: vec!["residency=eu".parse().unwrap()],
        deny: Vec::new(),
    }])
    .unwrap();
    scene.config.apply(Change::from(service)).unwrap();
    assert_eq!(scene.without("eu"), "api: no region is left that can serve its clients");
    assert_eq!(scene.without("us"), "");
}
