//! The route table: everything that the server answers.

use geostream_ports::Scope;
use http::Method;
use matchit::Router;

/// One line of the route table.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method; `GET` answers `HEAD` too.
    pub method: Method,
    /// The path, with `{parameters}`.
    pub pattern: &'static str,
    /// What is done; its name is the `operationId` in the API's description.
    pub operation: Operation,
    /// What a token must be good for; `None` where anybody may ask.
    pub scope: Option<Scope>,
    /// The most bytes that a body may have.
    pub body_limit: usize,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Answers clients, on the thread that has the connection.
    Decide(Decide),
    /// Answers what watches the node. No client's rate limits it, and it does not wait behind
    /// control requests.
    Watch(Watch),
    /// Anything else, on the control runtime.
    Control(Control),
}

/// The ways to ask for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decide {
    /// Decides for one client, asked by a document.
    ByDocument,
    /// Decides for one client, asked by a query.
    ByQuery,
    /// Decides for many clients.
    Batch,
}

/// What balancers and Prometheus ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Tells that the process is alive.
    Health,
    /// Tells whether the node has all that it decides by.
    Readiness,
    /// Shows the metrics.
    Metrics,
}

/// Everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Shows the API's description.
    GetOpenapi,
    /// Tells how the node is.
    GetStatus,
    /// Tells how every region is.
    GetRegionHealth,
    /// Tells how the regions' health has changed.
    ListHealthChanges,
    /// Tells what happens, as it happens.
    StreamEvents,
    /// Takes in what came of using regions.
    ReportOutcomes,
    /// Finds the place of an address.
    LookUpAddress,
    /// Shows the declared configuration.
    GetConfig,
    /// Declares the configuration.
    PutConfig,
    /// Lists the commits.
    ListHistory,
    /// Shows what one commit changed.
    GetHistory,
    /// Lists the commits with all that they changed.
    ListLog,
    /// Shows all that a revision says.
    GetRevision,
    /// Takes in the log of another store.
    ImportLog,
    /// Shows what differs between two revisions.
    GetDiff,
    /// Goes back to an earlier revision.
    RollBack,
    /// Lists the regions.
    ListRegions,
    /// Shows a region.
    GetRegion,
    /// Adds or replaces a region.
    PutRegion,
    /// Removes a region.
    DeleteRegion,
    /// Lists the services.
    ListServices,
    /// Shows a service.
    GetService,
    /// Adds or replaces a service.
    PutService,
    /// Removes a service.
    DeleteService,
    /// Lists the overrides.
    ListOverrides,
    /// Sets a region's override.
    PutOverride,
    /// Clears a region's override.
    DeleteOverride,
    /// Lists the flags.
    ListFlags,
    /// Switches a flag.
    PutFlag,
    /// Shows the settings.
    GetSettings,
    /// Sets the settings.
    PutSettings,
    /// Copies everything that the store keeps.
    GetBackup,
    /// Tells who wanted what, and what came of it.
    ListAudit,
    /// Tells what is logged.
    GetLogLevel,
    /// Has something else logged.
    PutLogLevel,
    /// Lists the tokens.
    ListTokens,
    /// Makes a token.
    CreateToken,
    /// Revokes a token.
    DeleteToken,
}

impl Route {
    /// Returns the path's parameter as the pattern has it, such as `{region}`.
    pub(crate) fn parameter(&self) -> Option<&'static str> {
        self.pattern.find('{').map(|begin| &self.pattern[begin..])
    }
}

impl Operation {
    /// Returns the `operationId` in the API's description.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Decide(Decide::ByDocument) => "routeClient",
            Self::Decide(Decide::ByQuery) => "routeClientByQuery",
            Self::Decide(Decide::Batch) => "routeBatch",
            Self::Watch(Watch::Health) => "getHealth",
            Self::Watch(Watch::Readiness) => "getReadiness",
            Self::Watch(Watch::Metrics) => "getMetrics",
            Self::Control(operation) => operation.id(),
        }
    }
}

impl Control {
    fn id(self) -> &'static str {
        match self {
            Self::GetOpenapi => "getOpenapi",
            Self::GetStatus => "getStatus",
            Self::GetRegionHealth => "getRegionHealth",
            Self::ListHealthChanges => "listHealthChanges",
            Self::StreamEvents => "streamEvents",
            Self::ReportOutcomes => "reportOutcomes",
            Self::LookUpAddress => "lookUpAddress",
            Self::GetConfig => "getConfig",
            Self::PutConfig => "putConfig",
            Self::ListHistory => "listHistory",
            Self::GetHistory => "getHistory",
            Self::ListLog => "listLog",
            Self::GetRevision => "getRevision",
            Self::ImportLog => "importLog",
            Self::GetDiff => "getDiff",
            Self::RollBack => "rollBack",
            Self::ListRegions => "listRegions",
            Self::GetRegion => "getRegion",
            Self::PutRegion => "putRegion",
            Self::DeleteRegion => "deleteRegion",
            Self::ListServices => "listServices",
            Self::GetService => "getService",
            Self::PutService => "putService",
            Self::DeleteService => "deleteService",
            Self::ListOverrides => "listOverrides",
            Self::PutOverride => "putOverride",
            Self::DeleteOverride => "deleteOverride",
            Self::ListFlags => "listFlags",
            Self::PutFlag => "putFlag",
            Self::GetSettings => "getSettings",
            Self::PutSettings => "putSettings",
            Self::GetBackup => "getBackup",
            Self::ListAudit => "listAudit",
            Self::GetLogLevel => "getLogLevel",
            Self::PutLogLevel => "putLogLevel",
            Self::ListTokens => "listTokens",
            Self::CreateToken => "createToken",
            Self::DeleteToken => "deleteToken",
        }
    }
}

/// Tells whether this is the path of an operation that decides.
pub(crate) fn is_for_decisions(path: &str) -> bool {
    let decides = |route: &Route| matches!(route.operation, Operation::Decide(_));
    ROUTES.iter().any(|route| decides(route) && route.pattern == path)
}

const NONE: usize = 0;
const SMALL: usize = 16 << 10;
const BATCH: usize = 512 << 10;
const SERVICE: usize = 4 << 20;
/// Room for 20,000 regions with everything that can be said of each, as people write it.
const CONFIG: usize = 32 << 20;

/// Everything that the server answers.
pub static ROUTES: &[Route] = {
    use Control as C;
    use Decide as D;
    use Operation::{Control as Do, Decide as Ask, Watch as See};
    use Scope::{Admin, Operator, Reporter, Viewer};
    const GET: Method = Method::GET;
    const PUT: Method = Method::PUT;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    &[
        route(POST, "/api/v1/route", Ask(D::ByDocument), None, SMALL),
        route(GET, "/api/v1/route", Ask(D::ByQuery), None, NONE),
        route(POST, "/api/v1/route/batch", Ask(D::Batch), None, BATCH),
        route(GET, "/health", See(Watch::Health), None, NONE),
        route(GET, "/ready", See(Watch::Readiness), None, NONE),
        route(GET, "/metrics", See(Watch::Metrics), None, NONE),
        route(GET, "/openapi.yaml", Do(C::GetOpenapi), None, NONE),
        route(GET, "/api/v1/status", Do(C::GetStatus), Some(Viewer), NONE),
        route(GET, "/api/v1/health/regions", Do(C::GetRegionHealth), Some(Viewer), NONE),
        route(GET, "/api/v1/health/history", Do(C::ListHealthChanges), Some(Viewer), NONE),
        route(GET, "/api/v1/events", Do(C::StreamEvents), Some(Viewer), NONE),
        route(POST, "/api/v1/outcomes", Do(C::ReportOutcomes), Some(Reporter), BATCH),
        route(GET, "/api/v1/geoip/{address}", Do(C::LookUpAddress), Some(Viewer), NONE),
        route(GET, "/api/v1/config", Do(C::GetConfig), Some(Viewer), NONE),
        route(PUT, "/api/v1/config", Do(C::PutConfig), Some(Admin), CONFIG),
        route(GET, "/api/v1/config/history", Do(C::ListHistory), Some(Viewer), NONE),
        route(GET, "/api/v1/config/history/{revision}", Do(C::GetHistory), Some(Viewer), NONE),
        route(GET, "/api/v1/config/log", Do(C::ListLog), Some(Viewer), NONE),
        route(POST, "/api/v1/config/log", Do(C::ImportLog), Some(Admin), CONFIG),
        route(GET, "/api/v1/config/log/{revision}", Do(C::GetRevision), Some(Viewer), NONE),
        route(GET, "/api/v1/config/diff", Do(C::GetDiff), Some(Viewer), NONE),
        route(POST, "/api/v1/config/rollback", Do(C::RollBack), Some(Admin), SMALL),
        route(GET, "/api/v1/regions", Do(C::ListRegions), Some(Viewer), NONE),
        route(GET, "/api/v1/regions/{region}", Do(C::GetRegion), Some(Viewer), NONE),
        route(PUT, "/api/v1/regions/{region}", Do(C::PutRegion), Some(Admin), SMALL),
        route(DELETE, "/api/v1/regions/{region}", Do(C::DeleteRegion), Some(Admin), NONE),
        route(GET, "/api/v1/services", Do(C::ListServices), Some(Viewer), NONE),
        route(GET, "/api/v1/services/{service}", Do(C::GetService), Some(Viewer), NONE),
        route(PUT, "/api/v1/services/{service}", Do(C::PutService), Some(Admin), SERVICE),
        route(DELETE, "/api/v1/services/{service}", Do(C::DeleteService), Some(Admin), NONE),
        route(GET, "/api/v1/overrides", Do(C::ListOverrides), Some(Viewer), NONE),
        route(PUT, "/api/v1/overrides/{region}", Do(C::PutOverride), Some(Operator), SMALL),
        route(DELETE, "/api/v1/overrides/{region}", Do(C::DeleteOverride), Some(Operator), NONE),
        route(GET, "/api/v1/flags", Do(C::ListFlags), Some(Viewer), NONE),
        route(PUT, "/api/v1/flags/{flag}", Do(C::PutFlag), Some(Admin), SMALL),
        route(GET, "/api/v1/settings", Do(C::GetSettings), Some(Viewer), NONE),
        route(PUT, "/api/v1/settings", Do(C::PutSettings), Some(Admin), SMALL),
        route(GET, "/api/v1/backup", Do(C::GetBackup), Some(Admin), NONE),
        route(GET, "/api/v1/audit", Do(C::ListAudit), Some(Admin), NONE),
        route(GET, "/api/v1/log-level", Do(C::GetLogLevel), Some(Viewer), NONE),
        route(PUT, "/api/v1/log-level", Do(C::PutLogLevel), Some(Admin), SMALL),
        route(GET, "/api/v1/tokens", Do(C::ListTokens), Some(Admin), NONE),
        route(POST, "/api/v1/tokens", Do(C::CreateToken), Some(Admin), SMALL),
        route(DELETE, "/api/v1/tokens/{token}", Do(C::DeleteToken), Some(Admin), NONE),
    ]
};

const fn route(
    method: Method,
    pattern: &'static str,
    operation: Operation,
    scope: Option<Scope>,
    body_limit: usize,
) -> Route {
    Route { method, pattern, operation, scope, body_limit }
}

/// Which operations a listener answers, beside `/health` and `/ready`, which every listener
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serves {
    /// Decisions.
    pub decisions: bool,
    /// Everything that needs a token, and the API's description.
    pub control: bool,
    /// The metrics.
    pub metrics: bool,
}

impl Serves {
    /// Everything.
    pub const ALL: Self = Self { decisions: true, control: true, metrics: true };
    /// The metrics alone.
    pub const METRICS: Self = Self { decisions: false, control: false, metrics: true };

    fn includes(self, operation: Operation) -> bool {
        match operation {
            Operation::Decide(_) => self.decisions,
            Operation::Control(_) => self.control,
            Operation::Watch(Watch::Health | Watch::Readiness) => true,
            Operation::Watch(Watch::Metrics) => self.metrics,
        }
    }
}

/// Finds the route of a request.
#[derive(Clone, Debug)]
pub(crate) struct RouteFinder {
    decides: bool,
    by_path: Router<Vec<usize>>,
}

/// What was found for a method and a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// The route by its position in the table, and the path's parameter.
    Route(usize, Option<&'a str>),
    /// The path is there, and these are its methods.
    Methods(String),
    /// There is no such path.
    Nothing,
}

impl Found<'_> {
    /// Returns the route's position in the table.
    pub(crate) fn position(&self) -> Option<usize> {
        match self {
            Self::Route(position, _) => Some(*position),
            Self::Methods(_) | Self::Nothing => None,
        }
    }

    /// Tells whether the request is for `/health`, `/ready` or `/metrics`.
    pub(crate) fn is_watch(&self) -> bool {
        let operation = self.position().map(|position| ROUTES[position].operation);
        matches!(operation, Some(Operation::Watch(_)))
    }
}

impl RouteFinder {
    /// Finds what a listener answers, and nothing else.
    pub(crate) fn new(serves: Serves) -> Self {
        let mut patterns: Vec<(&str, Vec<usize>)> = Vec::new();
        let served = ROUTES.iter().enumerate();
        for (position, route) in served.filter(|(_, route)| serves.includes(route.operation)) {
            match patterns.iter_mut().find(|(pattern, _)| *pattern == route.pattern) {
                Some((_, positions)) => positions.push(position),
                None => patterns.push((route.pattern, vec![position])),
            }
        }
        let mut by_path = Router::new();
        for (pattern, positions) in patterns {
            by_path.insert(pattern, positions).expect("the patterns of the table do not clash");
        }
        Self { decides: serves.decisions, by_path }
    }

    pub(crate) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Found<'a> {
        // Nearly all ask for the first.
        if path == ROUTES[0].pattern && *method == ROUTES[0].method && self.decides {
            return Found::Route(0, None);
        }
        let Ok(matched) = self.by_path.at(path) else { return Found::Nothing };
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut positions = matched.value.iter();
        if let Some(&position) = positions.find(|&&position| ROUTES[position].method == *method) {
            return Found::Route(position, matched.params.iter().next().map(|(_, value)| value));
        }
        let mut methods: Vec<&str> =
            matched.value.iter().map(|&position| ROUTES[position].method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        Found::Methods(methods.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_a_region_needs_no_token() {
        let mut decisions =
            ROUTES.iter().filter(|route| matches!(route.operation, Operation::Decide(_)));
        assert!(decisions.all(|route| route.scope.is_none()));
    }

    #[test]
    fn requests_find_their_routes() {
        let finder = RouteFinder::new(Serves::ALL);
        let operation = |method, path| match finder.find(&method, path) {
            Found::Route(position, parameter) => {
                (ROUTES[position].operation.id(), parameter.map(str::to_owned))
            }
            other @ (Found::Methods(_) | Found::Nothing) => panic!("{path}: {other:?}"),
        };
        assert_eq!(operation(Method::POST, "/api/v1/route"), ("routeClient", None));
        assert_eq!(operation(Method::GET, "/api/v1/route"), ("routeClientByQuery", None));
        assert_eq!(operation(Method::HEAD, "/health"), ("getHealth", None));
        let region = Some("us-west-2".to_owned());
        assert_eq!(operation(Method::PUT, "/api/v1/regions/us-west-2"), ("putRegion", region));
        assert_eq!(finder.find(&Method::GET, "/api/v1/regions/"), Found::Nothing);
        assert_eq!(
            finder.find(&Method::DELETE, "/api/v1/route"),
            Found::Methods("POST, GET, HEAD".to_owned())
        );
    }

    #[test]
    fn a_listener_knows_nothing_of_what_others_answer() {
        let clients = RouteFinder::new(Serves { decisions: true, control: false, metrics: false });
        let metrics = RouteFinder::new(Serves::METRICS);
        let finds =
            |finder: &RouteFinder, method, path| finder.find(&method, path).position().is_some();
        assert!(finds(&clients, Method::POST, "/api/v1/route"));
        assert!(finds(&clients, Method::GET, "/api/v1/route"));
        for path in ["/metrics", "/openapi.yaml", "/api/v1/config", "/api/v1/outcomes"] {
            assert_eq!(clients.find(&Method::PATCH, path), Found::Nothing, "{path}");
        }
        assert!(finds(&metrics, Method::GET, "/metrics"));
        assert_eq!(metrics.find(&Method::POST, "/api/v1/route"), Found::Nothing);
        for path in ["/health", "/ready"] {
            assert!(finds(&clients, Method::GET, path) && finds(&metrics, Method::GET, path));
        }
    }
}
