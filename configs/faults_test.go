package configs_test

import (
	"slices"
	"strings"
	"testing"

	"tilegate/configs"
)

// TestFaults has a case for every fault: the line that ends in "# !" is the one that must be told, the
// key and the problem are told with it, and nothing else is.
func TestFaults(t *testing.T) {
	private, public := ecKey(t)
	pairs := []string{
		"EMPTY=", "SHORT=short", "SPACED=sixteen bytes and a space", "LONG=0123456789abcdef0123456789abcdef",
		"PRIVATE=" + private, "PUBLIC=" + public, "RAW=" + strings.Repeat("\xff", 31),
		"TWO=" + public + public, "EXPONENT_1=" + exponentOne(t),
		"OTHER=-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----", "HOLLOW=-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
	}
	issuer := func(lines string) string {
		return "auth:\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [tiles]\n    algorithms: [RS256]\n" + lines + minimalTilesets
	}
	tileset := func(lines string) string { return minimal + lines }
	const httpsURL = "server: {public_url: 'https://tiles.example.com'}\n"

	for _, tc := range []struct {
		name, file, key, problem string
	}{
		// The file as such.
		{"empty file", "# !", "tilesets", "is required"},
		{"not a mapping", "- a # !", "", "must hold keys"},
		{"syntax", "server:\n  listen: a: b # !", "", "is not YAML: mapping values are not allowed"},
		{"tab", "server:\n\tlisten: a # !", "", "cannot start any token; indent with spaces"},
		{"unquoted braces", "tilesets: {b: {source: s3://a/{z}}} # !", "", "quote a value that holds braces"},
		{"two documents", minimal + "--- # !\na: 1", "", "a second YAML document"},
		{"not UTF-8", "server: \xff # !", "", "is not UTF-8"},
		{"too large", "# !\n" + strings.Repeat("#", 1<<20), "", "is larger than 1MiB"},

		// Keys.
		{"unknown section", minimal + "sever: {} # !", "sever", "not a key that tilegate knows; did you mean server?"},
		{"unknown key", minimal + "server:\n  liste: a # !", "server.liste", "did you mean listen?"},
		{"hyphens", minimal + "server:\n  public-url: https://a.example # !", "server.public-url", "did you mean public_url?"},
		{"key of another section", minimal + "public_url: https://a.example # !", "public_url", "did you mean server.public_url?"},
		{"unknown key without a likeness", minimal + "presign: {lifetime: 5m} # !", "presign.lifetime", "known: expires, window"},
		{"unknown key in a list", issuer("    jwks_uri: https://id.example.com/ # !\n"), "auth.issuers[0].jwks_uri", "did you mean jwks_url?"},
		{"unknown key in a tileset", tileset("    sorce: a # !"), "tilesets.basemap.sorce", "did you mean source?"},
		{"key with a line break", minimal + "\"a\\nb\": 1 # !", `"a\nb"`, "not a key"},
		{"key that is no word", minimal + "[a]: 1 # !", `""`, "a key must be a plain word"},
		{"key twice", minimal + "cache:\n  fresh: 1m\n  fresh: 2m # !", "cache.fresh", "a second time; the first is on line 7"},
		{"section twice", minimal + "cache: {fresh: 1m}\ncache: {stale: 1m} # !", "cache", "a second time"},
		{"tileset twice", tileset("  basemap: # !\n    source: s3://acme/{z}/{x}/{y}.png"), "tilesets.basemap", "a second time"},
		{"anchor", minimal + "cache: &c # !\n  fresh: 1m", "cache", "anchors and aliases are not read"},
		{"alias", minimal + "logging:\n  format: &f json # !", "logging.format", "anchors and aliases"},
		{"merge key", minimal + "cache:\n  <<: {fresh: 1m} # !", `cache."<<"`, "merge keys are not read"},
		{"tag", minimal + "logging:\n  format: !!str json # !", "logging.format", "tags are not read"},

		// Values.
		{"an ARN for a role", minimal + "aws:\n  role: arn:aws:iam::123456789012:role/tiles # !", "aws.role", "must hold keys, each with a colon and a value; write {arn: arn:…}"},
		{"scalar for a section", minimal + "cache: 512MiB # !", "cache", "must hold keys"},
		{"scalar for a list", minimal + "server:\n  trusted_proxies: 10.0.0.0/8 # !", "server.trusted_proxies", "must be a list; write [a, b]"},
		{"list for a scalar", minimal + "aws:\n  region: [eu-central-1] # !", "aws.region", "must be a single value"},
		{"empty list entry", minimal + "server:\n  cors:\n    origins:\n    - # !", "server.cors.origins[0]", "is empty"},
		{"not a boolean", minimal + "aws: {path_style: yes} # !", "aws.path_style", "neither true nor false"},
		{"not a duration", minimal + "cache: {fresh: 5} # !", "cache.fresh", "is not a duration; write 90s, 10m or 24h"},
		{"negative duration", minimal + "cache: {stale: -1s} # !", "cache.stale", "is not a duration"},
		{"not a size", minimal + "cache: {memory: 512MB} # !", "cache.memory", "is not a size; write 64KiB, 512MiB"},
		{"not a count", minimal + "server: {limits: {requests: 1k}} # !", "server.limits.requests", "is not a whole number from 0 up; write 128"},
		{"negative count", minimal + "server: {limits: {client_requests: -1}} # !", "server.limits.client_requests", "is not a whole number"},
		{"huge count", minimal + "server: {limits: {client_connections: 16777217}} # !", "server.limits.client_connections", "must be at most 16777216"},
		{"no streams", minimal + "server: {limits: {streams: 0}} # !", "server.limits.streams", "must be 1 to 1000"},
		{"overflowing size", minimal + "cache: {memory: 9000000000GiB} # !", "cache.memory", "is not a size"},
		{"not a zoom", tileset("    maxzoom: 31 # !"), "tilesets.basemap.maxzoom", "is not a zoom from 0 to 30"},
		{"not a level", minimal + "logging: {level: trace} # !", "logging.level", "known: debug, info"},
		{"not a network", minimal + "server: {trusted_proxies: [proxy]} # !", "server.trusted_proxies[0]", "is not a network"},
		{"network with host bits", minimal + "server: {trusted_proxies: [10.1.0.0/8]} # !", "server.trusted_proxies[0]", "is an address in 10.0.0.0/8"},

		// The environment.
		{"unset variable", minimal + "aws:\n  region: ${REGION} # !", "aws.region", "environment variable REGION is not set"},
		{"unset variable twice", minimal + "aws:\n  region: ${LONG:-a}${NOPE} # !", "aws.region", "NOPE is not set"},
		{"variable without end", minimal + "aws:\n  region: ${REGION # !", "aws.region", "has ${ without }"},
		{"variable without a name", minimal + "aws:\n  region: ${a b} # !", "aws.region", "no variable's name"},

		// Secrets.
		{"literal secret", minimal + "server: {admin_token: 0123456789abcdef} # !", "server.admin_token", "not written into the configuration; write {env: NAME}"},
		{"literal in a list", "auth: {signing_keys: [hunter2]} # !\n" + minimalTilesets, "auth.signing_keys[0]", "not written into the configuration"},
		{"unset secret", minimal + "server: {admin_token: {env: NOPE}} # !", "server.admin_token.env", "not set"},
		{"empty secret", minimal + "server: {admin_token: {env: EMPTY}} # !", "server.admin_token", "the secret is empty"},
		{"missing secret file", minimal + "server: {admin_token: {file: nope.txt}} # !", "server.admin_token.file", "no such file or directory; a relative path"},
		{"directory as secret file", minimal + "server: {admin_token: {file: testdata}} # !", "server.admin_token.file", "is not a regular file"},
		{"secret from two places", minimal + "server: {admin_token: {env: LONG, file: a}} # !", "server.admin_token", "both env and file"},
		{"unknown secret key", minimal + "server: {admin_token: {evn: LONG}} # !", "server.admin_token.evn", "did you mean env?"},
		{"short bearer", minimal + "server: {admin_token: {env: SHORT}} # !", "server.admin_token", "fewer than 16 bytes"},
		{"bearer with a space", minimal + "server: {admin_token: {env: SPACED}} # !", "server.admin_token", "a header cannot carry"},

		// server.
		{"listen without port", minimal + "server: {listen: localhost} # !", "server.listen", `is not host:port; write ":8080"`},
		{"listen with a name for port", minimal + "server: {listen: ':http'} # !", "server.listen", "no port from 0 to 65535"},
		{"listen beyond ports", minimal + "server: {admin_listen: 'localhost:65536'} # !", "server.admin_listen", "no port"},
		{"same port", minimal + "server: {listen: ':9090'} # !", "server.admin_listen", "has the port of server.listen"},
		{"admin without token", minimal + "server: # !\n  admin_listen: ':9090'", "server.admin_token", "is required when admin_listen is not loopback"},
		{"public_url without scheme", minimal + "server: {public_url: tiles.example.com} # !", "server.public_url", "not an absolute http or https URL"},
		{"public_url of another scheme", minimal + "server: {public_url: 'ftp://a.example'} # !", "server.public_url", "not an absolute"},
		{"public_url with query", minimal + "server: {public_url: 'https://a.example/?b'} # !", "server.public_url", "has a query"},
		{"public_url with fragment", minimal + "server: {public_url: 'https://a.example/#b'} # !", "server.public_url", "has a fragment"},
		{"public_url with user", minimal + "server: {public_url: 'https://u:p@a.example'} # !", "server.public_url", "holds a user or password"},
		{"public_url of slashes", minimal + "server: {public_url: /} # !", "server.public_url", "not an absolute"},
		{"certificate without key", minimal + "server:\n  tls: # !\n    cert_file: a.pem", "server.tls.key_file", "is required with cert_file"},
		{"key without certificate", minimal + "server:\n  tls: # !\n    key_file: a.pem", "server.tls.cert_file", "is required with key_file"},
		{"missing certificate", minimal + "server: {tls: {cert_file: a.pem, key_file: b.pem}} # !", "server.tls.cert_file", "no such file or directory"},
		{"missing TLS key", minimal + "server: {tls: {cert_file: config.go, key_file: b.pem}} # !", "server.tls.key_file", "no such file or directory"},
		{"no certificate inside", minimal + "server: {tls: {cert_file: config.go, key_file: config.go}} # !", "server.tls", "the files are no pair: failed to find any PEM data"},
		{"any origin", minimal + "server: {cors: {origins: ['*']}} # !", "server.cors.origins[0]", "any site read"},
		{"any https origin", minimal + "server: {cors: {origins: ['https://*']}} # !", "server.cors.origins[0]", "any site read"},
		{"null origin", minimal + "server: {cors: {origins: ['null']}} # !", "server.cors.origins[0]", "any site read"},
		{"origin without scheme", minimal + "server: {cors: {origins: [app.example.com]}} # !", "server.cors.origins[0]", "is not an origin"},
		{"origin with path", minimal + "server: {cors: {origins: ['https://a.example/']}} # !", "server.cors.origins[0]", "goes on after the host"},
		{"origin in upper case", minimal + "server: {cors: {origins: ['https://A.example']}} # !", "server.cors.origins[0]", "lower case"},
		{"origin with the scheme's port", minimal + "server: {cors: {origins: ['https://a.example:443']}} # !", "server.cors.origins[0]", "leave out the scheme's own port"},
		{"wildcard inside", minimal + "server: {cors: {origins: ['https://a.*.example']}} # !", "server.cors.origins[0]", "is not an origin"},
		{"any port of a host", minimal + "server: {cors: {origins: ['https://a.example:*']}} # !", "server.cors.origins[0]", "every port of a host"},
		{"pages from files", minimal + "server: {cors: {origins: ['file://']}} # !", "server.cors.origins[0]", "send as null"},
		{"wildcard over apps", minimal + "server: {cors: {origins: ['capacitor://*.a.example']}} # !", "server.cors.origins[0]", "an app's own scheme"},
		{"any header", minimal + "server: {cors: {headers: ['*']}} # !", "server.cors.headers[0]", "taken literally"},
		{"header of two words", minimal + "server: {cors: {headers: ['X A']}} # !", "server.cors.headers[0]", "not the name of a header"},
		{"header that breaks the line", minimal + "server: {cors: {headers: [\"X-A\\r\\nSet-Cookie\"]}} # !", "server.cors.headers[0]", "not the name of a header"},
		{"header of a proxy", minimal + "server: {cors: {headers: [x-forwarded-uri]}} # !", "server.cors.headers[0]", "a proxy speaks to tilegate"},
		{"header of the CDN", minimal + "server: {cors: {headers: [X-Origin-Verify]}} # !", "server.cors.headers[0]", "a proxy speaks to tilegate"},
		{"wildcard over http", minimal + "server: {cors: {origins: ['http://*.a.example']}} # !", "server.cors.origins[0]", "wildcard over http"},
		{"wildcard over a top-level domain", minimal + "server: {cors: {origins: ['https://*.example']}} # !", "server.cors.origins[0]", "top-level domain"},
		{"header limit", minimal + "server: {limits: {header_bytes: 1KiB}} # !", "server.limits.header_bytes", "must be 4KiB to 1MiB"},
		{"no header timeout", minimal + "server: {limits: {read_header: 0s}} # !", "server.limits.read_header", "must be at least 1ms"},
		{"no idle timeout", minimal + "server: {limits: {idle: 0s}} # !", "server.limits.idle", "must be at least"},
		{"no stall timeout", minimal + "server: {limits: {write_stall: 0s}} # !", "server.limits.write_stall", "must be at least"},

		// logging.
		{"log format", minimal + "logging: {format: jsn} # !", "logging.format", "is none of json, text; did you mean json?"},

		// limits.
		{"rate without a unit", minimal + "limits: {requests: {rate: 50}} # !", "limits.requests.rate", "is not a rate"},
		{"rate of another unit", minimal + "limits: {requests: {rate: 50/d}} # !", "limits.requests.rate", "is not a rate"},
		{"rate of nothing", minimal + "limits: {requests: {rate: 0/s}} # !", "limits.requests.rate", "is not a rate"},
		{"rate above all", minimal + "limits: {requests: {rate: 100001/s}} # !", "limits.requests.rate", "at most 100000/s"},
		{"no burst", minimal + "limits: {requests: {burst: 0}} # !", "limits.requests.burst", "must be 1 to 1000000"},
		{"window of seconds", minimal + "limits: {distinct_tiles: {90s: 5}} # !", "limits.distinct_tiles.90s", "is not a window of whole minutes, 1m to 168h"},
		{"window of no time", minimal + "limits: {distinct_tiles: {0: 5}} # !", "limits.distinct_tiles.0", "is not a window"},
		{"window of a month", minimal + "limits: {distinct_tiles: {720h: 5}} # !", "limits.distinct_tiles.720h", "is not a window"},
		{"window of days", minimal + "limits: {distinct_tiles: {1d: 5}} # !", "limits.distinct_tiles.1d", "is not a window"},
		{"window that is there twice", minimal + "limits: {distinct_tiles: {24h: 5, 1440m: 6}} # !", "limits.distinct_tiles.1440m", "is a window that is there already"},
		{"no tiles in a window", minimal + "limits: {distinct_tiles: {1h: 0}} # !", "limits.distinct_tiles.1h", "must be 1 to 1000000 tiles"},
		{"tiles without a window", minimal + "limits: {distinct_tiles: 500} # !", "limits.distinct_tiles", "must hold keys"},
		{"five windows", minimal + "limits: {distinct_tiles: {1m: 1, 2m: 2, 3m: 3, 4m: 4, 5m: 5}} # !", "limits.distinct_tiles", "has more than 4 windows"},
		{"what to do over a limit", minimal + "limits: {on_exceeded: rejct} # !", "limits.on_exceeded", "is none of reject, slow, log; did you mean reject?"},

		// aws.
		{"region", minimal + "aws: {region: Frankfurt} # !", "aws.region", "is not a region"},
		{"endpoint", minimal + "aws: {endpoint: 'minio:9000'} # !", "aws.endpoint", "not an absolute"},
		{"sts_endpoint", minimal + "aws: {sts_endpoint: 'https://a.example?b'} # !", "aws.sts_endpoint", "has a query"},
		{"role ARN", minimal + "aws: {role: {arn: tiles-reader}} # !", "aws.role.arn", "is not a role's ARN"},
		{"user ARN", minimal + "aws: {role: {arn: 'arn:aws:iam::123456789012:user/me'}} # !", "aws.role.arn", "is not a role's ARN"},
		{"role keys without ARN", minimal + "aws:\n  role: # !\n    duration: 2h", "aws.role.arn", "is required by the other keys"},
		{"session name", minimal + role("session_name: 'a b'"), "aws.role.session_name", "2 to 64 letters"},
		{"external id", minimal + role("external_id: a"), "aws.role.external_id", "2 to 1224 letters"},
		{"role for too short", minimal + role("duration: 14m"), "aws.role.duration", "must be 15m to 12h; AWS caps it at 1h"},
		{"role for too long", minimal + role("duration: 13h"), "aws.role.duration", "must be 15m to 12h"},
		{"tag's name", minimal + role("tags: {'a!': b}"), `aws.role.tags."a!"`, "is not a session tag"},
		{"tag of AWS", minimal + role("tags: {'aws:a': b}"), `aws.role.tags."aws:a"`, "AWS keeps for itself"},
		{"tag's value", minimal + role("tags: {a: [b]}"), "aws.role.tags.a", "must be a single value"},
		{"web identity with external id", minimal + role("web_identity_token_file: t, external_id: abc"), "aws.role.external_id", "does not go with web_identity"},
		{"web identity with tags", minimal + role("web_identity_token_file: t, tags: {a: b}"), "aws.role.tags", "do not go with web_identity"},
		{"web identity without role", minimal + "aws:\n  role: # !\n    web_identity_token_file: t", "aws.role.arn", "is required"},
		{"no first-byte timeout", minimal + "aws: {timeouts: {first_byte: 0s}} # !", "aws.timeouts.first_byte", "must be at least"},
		{"no progress timeout", minimal + "aws: {timeouts: {progress: 0s}} # !", "aws.timeouts.progress", "must be at least"},

		// cache.
		{"object that does not fit", minimal + "cache: {memory: 15MiB} # !", "cache.memory", "max_object (8MiB) must fit into memory (15MiB) twice"},
		{"object larger than half", minimal + "cache: {max_object: 257MiB} # !", "cache.max_object", "must fit"},
		{"no object", minimal + "cache: {max_object: 0} # !", "cache.max_object", "at least one byte"},

		// auth.
		{"no way in", "# !\n" + minimalTilesets, "auth", "has no way to authenticate"},
		{"issuer without a name", "auth:\n  issuers:\n  - audience: [tiles] # !\n    algorithms: [RS256]\n    jwks_url: https://id.example.com/jwks.json\n" + minimalTilesets, "auth.issuers[0].issuer", "is required"},
		{"issuer twice", issuer("    allow: {tilesets: ['*']}\n  - issuer: https://id.example.com/ # !\n    audience: [a]\n    algorithms: [RS256]\n    allow: {tilesets: ['*']}\n"), "auth.issuers[1].issuer", "is auth.issuers[0]'s already"},
		{"two issuers, one without allow", issuer("    allow: {tilesets: ['*']}\n  - issuer: https://b.example.com/ # !\n    audience: [a]\n    algorithms: [RS256]\n"), "auth.issuers[1].allow.tilesets", "is required with two issuers or more"},
		{"two issuers, one with all tilesets left open", issuer("    allow: {tilesets: ['*']}\n  - issuer: https://b.example.com/\n    audience: [a]\n    algorithms: [RS256]\n    allow: {zoom: 0-4} # !\n"), "auth.issuers[1].allow.tilesets", "is required with two issuers or more"},
		{"issuer over http", "auth:\n  issuers:\n  - issuer: http://id.example.com # !\n    audience: [tiles]\n    algorithms: [RS256]\n" + minimalTilesets, "auth.issuers[0].issuer", "neither https nor on loopback"},
		{"issuer that is no URL, for discovery", "auth:\n  issuers:\n  - issuer: acme # !\n    audience: [tiles]\n    algorithms: [RS256]\n" + minimalTilesets, "auth.issuers[0].issuer", "not an absolute"},
		{"issuer named tilegate", "auth:\n  issuers:\n  - issuer: tilegate # !\n    audience: [tiles]\n    algorithms: [HS256]\n    key: {env: LONG}\n" + minimalTilesets, "auth.issuers[0].issuer", "tilegate's own tokens"},
		{"issuer that is no URL, beside a key that cannot be read", "auth:\n  issuers:\n  - issuer: acme\n    audience: [tiles]\n    algorithms: [RS256]\n    key: {env: NOPE} # !\n" + minimalTilesets, "auth.issuers[0].key.env", "is not set"},
		{"no audience", "auth:\n  issuers:\n  - issuer: https://id.example.com/ # !\n    algorithms: [RS256]\n" + minimalTilesets, "auth.issuers[0].audience", "is required"},
		{"empty audience", "auth:\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [''] # !\n    algorithms: [RS256]\n" + minimalTilesets, "auth.issuers[0].audience[0]", "is empty"},
		{"no algorithms", "auth:\n  issuers:\n  - issuer: https://id.example.com/ # !\n    audience: [tiles]\n" + minimalTilesets, "auth.issuers[0].algorithms", "is required"},
		{"algorithm none", algorithms("none"), "auth.issuers[0].algorithms[0]", "is not a signature algorithm"},
		{"algorithm in lower case", algorithms("rs256"), "auth.issuers[0].algorithms[0]", "is not a signature algorithm"},
		{"HMAC beside jwks_url", algorithms("HS256", "jwks_url: https://id.example.com/jwks.json"), "auth.issuers[0].algorithms[0]", "is HMAC, which does not go with jwks_url"},
		{"HMAC and public key", algorithms("RS256, HS256", "key: {env: PUBLIC}"), "auth.issuers[0].algorithms", "mixes HMAC with public-key"},
		{"HMAC and a key set without secret", algorithms("RS256, HS256"), "auth.issuers[0].algorithms", "mixes HMAC with public-key algorithms; that takes a secret in key"},
		{"HMAC secret too short beside a key set", "auth:\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [tiles]\n    algorithms: [RS256, HS256]\n    key: {env: SHORT} # !\n" + minimalTilesets, "auth.issuers[0].key", "the secret has fewer than 32 bytes"},
		{"authority that is not there", issuer("    ca_file: none.pem # !\n"), "auth.issuers[0].ca_file", "no such file"},
		{"authority that is no certificate", issuer("    ca_file: config.go # !\n"), "auth.issuers[0].ca_file", "holds no certificate in PEM"},
		{"authority without a key set", algorithms("ES256", "key: {env: PUBLIC}", "ca_file: config.go # !"), "auth.issuers[0].ca_file", "is for key sets, and this issuer has none"},
		{"token_header that is no header", issuer("    token_header: 'X Token' # !\n"), "auth.issuers[0].token_header", "is not the name of a header"},
		{"token_header that is taken", issuer("    token_header: x-api-key # !\n"), "auth.issuers[0].token_header", "a meaning of its own"},
		{"token_header that others forward", issuer("    token_header: X-Forwarded-For # !\n"), "auth.issuers[0].token_header", "a meaning of its own"},
		{"max_token too small", issuer("    max_token: 4KiB # !\n"), "auth.issuers[0].max_token", "must be 8KiB to 32KiB"},
		{"max_token of nothing", issuer("    max_token: 0 # !\n"), "auth.issuers[0].max_token", "must be 8KiB to 32KiB"},
		{"max_token too large", issuer("    max_token: 33KiB # !\n") + "server: {limits: {header_bytes: 64KiB}}\n", "auth.issuers[0].max_token", "must be 8KiB to 32KiB"},
		{"max_token beyond the header", issuer("    max_token: 16KiB # !\n"), "auth.issuers[0].max_token", "does not fit into a request's header_bytes (16KiB)"},
		{"header that is too small for a token", issuer("") + "server: {limits: {header_bytes: 4KiB}} # !\n", "server.limits.header_bytes", "a token of max_token (8KiB) does not fit"},
		{"audience claim twice", issuer("    audience_claims: [aud, /aud] # !\n"), "auth.issuers[0].audience_claims[1]", "is listed twice"},
		{"audience claim that is empty", issuer("    audience_claims: [''] # !\n"), "auth.issuers[0].audience_claims[0]", "is empty"},
		{"claim by a broken pointer", issuer("    claims: {tilesets: /a~2b} # !\n"), "auth.issuers[0].claims.tilesets", "is not a JSON pointer"},
		{"claim by a pointer that ends in ~", issuer("    claims: {zoom: /a~} # !\n"), "auth.issuers[0].claims.zoom", "is not a JSON pointer"},
		{"pointer into a registered claim", issuer("    claims: {tilesets: /aud/0} # !\n"), "auth.issuers[0].claims.tilesets", "a meaning of its own"},
		{"pointer to another claim's name", issuer("    claims: {tilesets: roles, zoom: /roles} # !\n"), "auth.issuers[0].claims.zoom", "is auth.issuers[0].claims.tilesets's already"},
		{"scope for tilesets without roles", issuer("    claims: {tilesets: scope} # !\n"), "auth.issuers[0].claims.tilesets", "a meaning of its own"},
		{"empty claim of an issuer", issuer("    claims: {zoom: ''} # !\n"), "auth.issuers[0].claims.zoom", "is empty"},
		{"a role for everybody", issuer("    roles: {'*': {tilesets: ['*']}} # !\n"), `auth.issuers[0].roles."*"`, "* stands for nothing here"},
		{"a role by a glob", issuer("    roles: {'acme-*': {tilesets: ['*']}} # !\n"), `auth.issuers[0].roles."acme-*"`, "* stands for nothing here"},
		{"a role without a name", issuer("    roles: {'': {tilesets: ['*']}} # !\n"), `auth.issuers[0].roles.""`, "is not the name of a role"},
		{"a role without tilesets", issuer("    roles: {viewer: {zoom: 0-4}} # !\n"), "auth.issuers[0].roles.viewer.tilesets", "is required"},
		{"a role that is misspelt inside", issuer("    roles: {viewer: {tilesets: [a], tileset: [b]}} # !\n"), "auth.issuers[0].roles.viewer.tileset", "did you mean tilesets?"},
		{"a role of no tileset", issuer("    roles: {map.viewer: {tilesets: [Acme]}} # !\n"), `auth.issuers[0].roles."map.viewer".tilesets[0]`, "neither an id nor a glob"},
		{"roles that are a list", issuer("    roles: [viewer] # !\n"), "auth.issuers[0].roles", "must hold keys"},
		{"ignore_unknown", issuer("    ignore_unknown: maybe # !\n"), "auth.issuers[0].ignore_unknown", "neither true nor false"},
		{"area without file", minimalAuth + "  areas:\n    bavaria: {} # !\n" + minimalTilesets, "auth.areas.bavaria.file", "is required"},
		{"area by another name", minimalAuth + "  areas:\n    Bavaria: {file: area.example.geojson} # !\n" + minimalTilesets, "auth.areas.Bavaria", "is not an id"},
		{"area whose file is not there", minimalAuth + "  areas: {bavaria: {file: none.geojson}} # !\n" + minimalTilesets, "auth.areas.bavaria.file", "no such file"},
		{"area that is no GeoJSON", minimalAuth + "  areas: {bavaria: {file: config.go}} # !\n" + minimalTilesets, "auth.areas.bavaria.file", "write a Polygon or MultiPolygon"},
		{"area that does not exist", issuer("    allow: {area: bavaria} # !\n"), "auth.issuers[0].allow.area", "is not one of auth.areas"},
		{"area that does not exist, in a list", "auth:\n  areas: {bayern: {file: area.example.geojson}}\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [tiles]\n    algorithms: [RS256]\n    grant: {area: [bayern, bavarja]} # !\n" + minimalTilesets, "auth.issuers[0].grant.area[1]", "is not one of auth.areas"},
		{"area of a role that does not exist", issuer("    roles: {a: {tilesets: [a], area: bavaria}} # !\n"), "auth.issuers[0].roles.a.area", "is not one of auth.areas"},
		{"no area", issuer("    allow: {area: []} # !\n"), "auth.issuers[0].allow.area", "names no area"},
		{"area in an object", issuer("    allow: {area: {file: a}} # !\n"), "auth.issuers[0].allow.area", "must be a single value"},
		{"claim of an area that is taken", minimalAuth + "  claims: {area: zoom} # !\n" + minimalTilesets, "auth.claims.area", "is auth.claims.zoom's already"},
		{"host with a scheme", minimalAuth + "  insecure_jwks_hosts: ['http://a'] # !\n" + minimalTilesets, "auth.insecure_jwks_hosts[0]", "is not the name of a host"},
		{"host with a port", minimalAuth + "  insecure_jwks_hosts: ['a:80'] # !\n" + minimalTilesets, "auth.insecure_jwks_hosts[0]", "is not the name of a host"},
		{"every host", minimalAuth + "  insecure_jwks_hosts: ['*'] # !\n" + minimalTilesets, "auth.insecure_jwks_hosts[0]", "is not the name of a host"},
		{"API keys that are none", minimalAuth + "  api_keys: {file: config.go} # !\n" + minimalTilesets, "auth.api_keys.file", "line 1 is not one strict JSON object"},
		{"API keys in a directory", minimalAuth + "  api_keys: {file: testdata} # !\n" + minimalTilesets, "auth.api_keys.file", "is not a regular file"},
		{"login at no issuer of ours", issuer("  login: {issuer: 'https://other.example/', client_id: a} # !\n"), "auth.login.issuer", "is not one of auth.issuers"},
		{"login without an issuer", issuer("  login: {client_id: a} # !\n"), "auth.login.issuer", "is required by a client"},
		{"login without a client", issuer("  login: {issuer: 'https://id.example.com/'} # !\n"), "auth.login.client_id", "is required by auth.login"},
		{"login without openid", issuer("  login: {issuer: 'https://id.example.com/', client_id: a, scopes: [email]} # !\n"), "auth.login.scopes", "lacks openid"},
		{"login to elsewhere", issuer("  login: {issuer: 'https://id.example.com/', client_id: a, after: //evil.example} # !\n"), "auth.login.after", "is not a path"},
		{"HMAC without secret", "auth:\n  issuers:\n  - issuer: https://id.example.com/ # !\n    audience: [tiles]\n    algorithms: [HS256]\n" + minimalTilesets, "auth.issuers[0].key", "is required by HMAC"},
		{"HMAC secret too short", hmac("HS384", "LONG"), "auth.issuers[0].key", "fewer than 48 bytes"},
		{"HMAC with a public key for secret", hmac("HS256", "PUBLIC"), "auth.issuers[0].key", "is PEM, but the algorithms are HMAC"},
		{"private key", issuer("    key: {env: PRIVATE} # !\n"), "auth.issuers[0].key", "is a private key"},
		{"no PEM", issuer("    key: {env: LONG} # !\n"), "auth.issuers[0].key", "is not a public key in PEM"},
		{"PEM of something else", issuer("    key: {env: OTHER} # !\n"), "auth.issuers[0].key", "is PEM, but no public key"},
		{"PEM around something else", issuer("    key: {env: HOLLOW} # !\n"), "auth.issuers[0].key", "what it holds is no key"},
		{"two public keys of another algorithm", issuer("    key: {env: TWO} # !\n"), "auth.issuers[0].key", "its key 1 fits none of the algorithms, or is weak"},
		{"key of another algorithm", issuer("    key: {env: PUBLIC} # !\n"), "auth.issuers[0].key", "is no key for RS256, or a weak one"},
		{"RSA key that any signature fits", issuer("    key: {env: EXPONENT_1} # !\n"), "auth.issuers[0].key", "is no key for RS256, or a weak one; RSA needs 2048 to 8192 bits"},
		{"key and jwks_url", algorithms("ES256", "jwks_url: https://id.example.com/jwks.json", "key: {env: PUBLIC} # !"), "auth.issuers[0].key", "does not go with jwks_url"},
		{"jwks_url over http", issuer("    jwks_url: http://id.example.com/jwks.json # !\n"), "auth.issuers[0].jwks_url", "neither https nor on loopback"},
		{"jwks_refresh", issuer("    jwks_refresh: 999ms # !\n"), "auth.issuers[0].jwks_refresh", "at least 1s"},
		{"entry that is no glob", issuer("    allow: {tilesets: [Acme]} # !\n"), "auth.issuers[0].allow.tilesets[0]", "neither an id nor a glob"},
		{"nothing allowed", issuer("    allow: {tilesets: []} # !\n"), "auth.issuers[0].allow.tilesets", "is empty"},
		{"zooms that end before they begin", issuer("    allow: {zoom: 9-1} # !\n"), "auth.issuers[0].allow.zoom", `is not a range of zooms within 0 to 30; write "0-14"`},
		{"box of three", issuer("    grant: {bbox: [1, 2, 3]} # !\n"), "auth.issuers[0].grant.bbox", "must be a list of 4 numbers"},
		{"box that is no numbers", issuer("    grant: {bbox: [1, 2, 3, nan]} # !\n"), "auth.issuers[0].grant.bbox[3]", "is not a number"},
		{"box off the globe", issuer("    grant: {bbox: [1, 2, 181, 3]} # !\n"), "auth.issuers[0].grant.bbox[2]", "is not within -180 to 180"},
		{"box without area", issuer("    grant: {bbox: [1, 2, 3, 2]} # !\n"), "auth.issuers[0].grant.bbox", "has no area"},
		{"empty claim", minimalAuth + "  claims: {zoom: ''} # !\n" + minimalTilesets, "auth.claims.zoom", "is empty"},
		{"registered claim", minimalAuth + "  claims: {tilesets: sub} # !\n" + minimalTilesets, "auth.claims.tilesets", "a meaning of its own"},
		{"claim twice", minimalAuth + "  claims: {bbox: zoom} # !\n" + minimalTilesets, "auth.claims.bbox", "is auth.claims.zoom's already"},
		{"empty scope prefix", minimalAuth + "  claims: {scope_prefix: ''} # !\n" + minimalTilesets, "auth.claims.scope_prefix", "must be text without spaces"},
		{"leeway", minimalAuth + "  leeway: 6m # !\n" + minimalTilesets, "auth.leeway", "at most 5m0s"},
		{"max_lifetime", minimalAuth + "  max_lifetime: 1ms # !\n" + minimalTilesets, "auth.max_lifetime", "at least 1s; 0 is unlimited"},
		{"signing key of another length", "auth: {signing_keys: [{env: RAW}]} # !\n" + minimalTilesets, "auth.signing_keys[0]", "holds 31 bytes instead of 32; make one with tilegate keygen"},
		{"signing key in words", "auth: {signing_keys: [{env: SPACED}]} # !\n" + minimalTilesets, "auth.signing_keys[0]", "neither 32 raw bytes nor"},
		{"nine signing keys", "auth:\n  signing_keys: [" + strings.Repeat("{env: SIGNING_KEY}, ", 9) + "] # !\n" + minimalTilesets, "auth.signing_keys", "are more than 8"},
		{"signing key from nowhere", "auth: {signing_keys: [{file: ''}]} # !\n" + minimalTilesets, "auth.signing_keys[0]", "names no secret"},
		{"session ttl", minimalAuth + "  session: {ttl: 2s} # !\n" + minimalTilesets, "auth.session.ttl", "at least 3s"},
		{"same_site", minimalAuth + "  session: {same_site: Lax} # !\n" + minimalTilesets, "auth.session.same_site", "did you mean lax?"},
		{"partitioned", minimalAuth + "  session: {partitioned: true} # !\n" + minimalTilesets, "auth.session.partitioned", "same_site: none only"},
		{"none without https", minimalAuth + "  session: {same_site: none} # !\n" + minimalTilesets + "server: {listen: 'localhost:8080'}", "auth.session.same_site", "needs a secure cookie"},
		{"no session", minimalAuth + "  session: {ttl: 0s} # !\n" + minimalTilesets, "auth.session.ttl", "at least 3s"},
		{"partitioned beside a same_site that cannot be read", minimalAuth + "  session: {partitioned: true, same_site: [none]} # !\n" + minimalTilesets, "auth.session.same_site", "must be a single value"},
		{"no jwks_refresh", issuer("    jwks_refresh: 0s # !\n"), "auth.issuers[0].jwks_refresh", "at least 1s"},
		{"claim twice beside an empty one", minimalAuth + "  claims: {zoom: '', bbox: zoom} # !\n" + minimalTilesets, "auth.claims.zoom", "is empty"},
		{"token_window", minimalAuth + "  token_window: 0s # !\n" + minimalTilesets, "auth.token_window", "at least 1s"},
		{"query_parameter", minimalAuth + "  query_parameter: 'a b' # !\n" + minimalTilesets, "auth.query_parameter", "must be a letter"},
		{"query_parameter that is taken", minimalAuth + "  query_parameter: v # !\n" + minimalTilesets, "auth.query_parameter", "another meaning"},
		{"verify_header", minimalAuth + "  verify_header: X-Forwarded-URL # !\n" + minimalTilesets + "server: {trusted_proxies: [127.0.0.1]}", "auth.verify_header", "is none of X-Original-URI"},
		{"cookie suffix", minimalAuth + "  session: {cookie_suffix: 'a;b'} # !\n" + minimalTilesets, "auth.session.cookie_suffix", "not a part of a cookie's name"},
		{"verify_prefix with a slash at its end", minimalAuth + "  verify_header: X-Original-URI\n  verify_prefix: /maps/ # !\n" + minimalTilesets + "server: {trusted_proxies: [127.0.0.1]}", "auth.verify_prefix", "without a trailing slash"},
		{"verify_prefix that climbs", minimalAuth + "  verify_header: X-Original-URI\n  verify_prefix: /maps/.. # !\n" + minimalTilesets + "server: {trusted_proxies: [127.0.0.1]}", "auth.verify_prefix", "without a trailing slash"},
		{"verify_prefix without a header", minimalAuth + "  verify_prefix: /maps # !\n" + minimalTilesets, "auth.verify_prefix", "of no use without verify_header"},
		{"verify_preflight without a header", minimalAuth + "  verify_preflight: true # !\n" + minimalTilesets, "auth.verify_preflight", "of no use without verify_header"},
		{"path decisions believed from nobody", minimalAuth + "  verify_header: none # !\n" + minimalTilesets, "auth.verify_header", "from trusted proxies only"},
		{"verify_header believed from nobody", minimalAuth + "  verify_header: X-Original-URI # !\n" + minimalTilesets, "auth.verify_header", "from trusted proxies only"},

		// cdn.
		{"edge without secret", minimal + "cdn: # !\n  edge_authorizes: true\n  tilesets: [basemap]", "cdn.origin_secrets", "is required by edge_authorizes"},
		{"edge without tilesets", minimal + "cdn: # !\n  edge_authorizes: true\n  origin_secrets: [{env: LONG}]", "cdn.tilesets", "is required by edge_authorizes"},
		{"secret from nowhere", minimal + "cdn: {origin_secrets: [{env: ''}]} # !", "cdn.origin_secrets[0]", "names no secret"},
		{"short secret", minimal + "cdn: {origin_secrets: [{env: SHORT}]} # !", "cdn.origin_secrets[0]", "fewer than 16 bytes"},
		{"unknown cdn tileset", minimal + "cdn: {tilesets: [basmap]} # !", "cdn.tilesets[0]", "is not one of tilesets; did you mean basemap?"},
		{"cdn ttl", minimal + "cdn: {ttl: 0s} # !", "cdn.ttl", "at least 1s"},
		{"key pair without key", minimal + httpsURL + "cdn:\n  tilesets: [basemap]\n  cloudfront: # !\n    key_pair_id: K2JCJMDEHXQW5F", "cdn.cloudfront.private_key", "is required with key_pair_id"},
		{"key without key pair", minimal + httpsURL + "cdn:\n  tilesets: [basemap]\n  cloudfront: # !\n    private_key: {env: PRIVATE}", "cdn.cloudfront.key_pair_id", "is required with private_key"},
		{"key pair id", minimal + httpsURL + "cdn: {tilesets: [basemap], cloudfront: {key_pair_id: my-key, private_key: {env: PRIVATE}}} # !", "cdn.cloudfront.key_pair_id", "is not a public key's ID"},
		{"public CloudFront key", minimal + httpsURL + "cdn: {tilesets: [basemap], cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: PUBLIC}}} # !", "cdn.cloudfront.private_key", "is not an RSA 2048 or ECDSA P-256"},
		{"CloudFront for any host", minimal + "cdn:\n  tilesets: [basemap]\n  cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: PRIVATE}} # !", "cdn.cloudfront", "needs an https server.public_url"},
		{"CloudFront for an http host", minimal + "server: {public_url: 'http://tiles.example.com'} # !\ncdn: {tilesets: [basemap], cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: PRIVATE}}}", "server.public_url", "needs an https server.public_url"},
		{"CloudFront for every host", minimal + "server: {public_url: 'https://*.example.com'} # !\ncdn: {tilesets: [basemap], cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: PRIVATE}}}", "server.public_url", "needs an https server.public_url"},
		{"CloudFront for nothing", minimal + httpsURL + "cdn: # !\n  cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: PRIVATE}}", "cdn.tilesets", "is required by cloudfront"},

		// tilesets.
		{"no tilesets", "tilesets: {} # !", "tilesets", "is required"},
		{"id in upper case", minimalAuth + "tilesets:\n  Base: # !\n    source: s3://acme/{z}/{x}/{y}.png", "tilesets.Base", "is not an id"},
		{"id with a dot", minimalAuth + "tilesets:\n  a.b: # !\n    source: s3://acme/{z}/{x}/{y}.png", `tilesets."a.b"`, "is not an id"},
		{"id too long", minimalAuth + "tilesets:\n  " + strings.Repeat("a", 65) + ": # !\n    source: s3://acme/{z}/{x}/{y}.png", `tilesets."` + strings.Repeat("a", 65) + `"`, "is not an id"},
		{"bundle without a slash at its end", tileset("bundles:\n  style:\n    source: s3://acme/styles # !"), "bundles.style.source", "does not end in /"},
		{"bundle with placeholders", tileset("bundles:\n  style:\n    source: s3://acme/{z}/{x}/{y}/ # !"), "bundles.style.source", "has no placeholders"},
		{"bundle of a tileset's id", tileset("bundles:\n  basemap: # !\n    source: s3://acme/styles/"), "bundles.basemap", "is a tileset's id already"},
		{"bundle with no such tileset", tileset("bundles:\n  style:\n    source: s3://acme/styles/\n    with: [basmap] # !"), "bundles.style.with[0]", "did you mean basemap?"},
		{"style that is no JSON", tileset("bundles:\n  style:\n    source: s3://acme/styles/\n    styles:\n      basic: ../style.json # !"), "bundles.style.styles.basic", "is not the path of a .json file"},
		{"elevations of vectors", tileset("    encoding: terrarium # !\n    format: mvt"), "tilesets.basemap.encoding", "is of elevations in images"},
		{"two defaults", tileset("    default: true\n  roads:\n    default: true # !\n    source: s3://acme/r/{z}/{x}/{y}.png"), "tilesets.roads.default", "a second default; the first is tilesets.basemap"},
		{"archives by a template", source("s3://acme/{z}/{x}/{y}.pmtiles"), "tilesets.basemap.source", "a .pmtiles archive is one object with all tiles in it; name the one archive"},
		{"an MBTiles file", source("s3://acme/a/world.mbtiles"), "tilesets.basemap.source", "is an MBTiles file, which cannot be read out of a bucket by parts; make an archive: pmtiles convert world.mbtiles world.pmtiles; to give out the file itself"},
		{"a GeoTIFF", source("s3://acme/dem.tif"), "tilesets.basemap.source", "make an archive: gdal_translate -of MBTILES dem.tif dem.mbtiles && gdaladdo dem.mbtiles && pmtiles convert dem.mbtiles dem.pmtiles"},
		{"a GeoTIFF by its long extension", source("s3://acme/dem.TIFF"), "tilesets.basemap.source", "gdal_translate -of MBTILES dem.TIFF dem.mbtiles"},
		{"a COG", source("s3://acme/dem.cog"), "tilesets.basemap.source", "gdal_translate -of MBTILES dem.cog dem.mbtiles"},
		{"a GeoPackage", source("s3://acme/roads.gpkg"), "tilesets.basemap.source", "ogr2ogr -f MBTiles roads.mbtiles roads.gpkg"},
		{"a ZIP file", source("s3://acme/a b.zip"), "tilesets.basemap.source", "unzip tiles.zip -d tiles && mb-util tiles tiles.mbtiles && pmtiles convert"},
		{"GeoJSON", source("s3://acme/roads.geojson"), "tilesets.basemap.source", "tippecanoe -zg -o roads.pmtiles roads.geojson"},
		{"raw without an archive", tileset("    raw: true # !"), "tilesets.basemap.raw", "is for PMTiles archives only"},
		{"tile_size", tileset("    tile_size: 1024 # !"), "tilesets.basemap.tile_size", "is neither 256 nor 512"},
		{"an archive's format", minimalAuth + "tilesets:\n  roads:\n    source: s3://acme/roads.pmtiles\n    format: pbf # !", "tilesets.roads.format", "is none of png, jpg"},
		{"directory bucket", source("s3://acme--use1-az4--x-s3/{z}/{x}/{y}.png"), "tilesets.basemap.source", "is in a directory bucket"},
		{"no source", minimalAuth + "tilesets:\n  basemap: # !\n    public: true", "tilesets.basemap.source", "is required"},
		{"source over https", source("https://acme.s3.amazonaws.com/{z}/{x}/{y}.png"), "tilesets.basemap.source", "is not s3://bucket/key"},
		{"source without placeholders", source("s3://acme/tile.png"), "tilesets.basemap.source", "has no placeholders"},
		{"source with half of them", source("s3://acme/{z}/{x}.png"), "tilesets.basemap.source", "does not tell tiles apart"},
		{"source that no format is told by", minimalAuth + "tilesets:\n  basemap: # !\n    source: s3://acme/{z}/{x}/{y}", "tilesets.basemap.format", "is not told by the source's extension"},
		{"quadkey at zoom 0", minimalAuth + "tilesets:\n  basemap: # !\n    source: s3://acme/{q}.png", "tilesets.basemap.minzoom", "zoom 0 has no quadkey"},
		{"format", tileset("    format: pbf # !"), "tilesets.basemap.format", "is none of png, jpg"},
		{"version", tileset("    version: a/b # !"), "tilesets.basemap.version", "at most 64 letters"},
		{"zooms", tileset("    minzoom: 9 # !\n    maxzoom: 8"), "tilesets.basemap.minzoom", "minzoom (9) is beyond maxzoom (8)"},
		{"bounds", tileset("    bounds: [10, 0, -10, 1] # !"), "tilesets.basemap.bounds", "never cross the antimeridian"},
		{"bounds off the globe", tileset("    bounds: [10, -91, 20, 1] # !"), "tilesets.basemap.bounds[1]", "is not within -90 to 90"},
		{"vector layers of pictures", tileset("    vector_layers: [{id: a}] # !"), "tilesets.basemap.vector_layers", "format mvt or mlt only"},
		{"vector layer without id", tileset("    format: mvt\n    vector_layers: [{description: a}] # !"), "tilesets.basemap.vector_layers[0].id", "is required"},
		{"vector layer twice", tileset("    format: mvt\n    vector_layers: [{id: a}, {id: a}] # !"), "tilesets.basemap.vector_layers[1].id", "another layer's already"},
		{"vector layer's zooms", tileset("    format: mvt\n    vector_layers: [{id: a, minzoom: 2, maxzoom: 1}] # !"), "tilesets.basemap.vector_layers[0].minzoom", "is beyond maxzoom"},
		{"missing", tileset("    missing: 410 # !"), "tilesets.basemap.missing", "is none of 404, 204, transparent"},
		{"transparent json", tileset("    format: json\n    missing: transparent # !"), "tilesets.basemap.missing", "json has no transparent tile"},
		{"missing_on_403", tileset("    missing_on_403: maybe # !"), "tilesets.basemap.missing_on_403", "is none of auto, true, false"},
		{"policy misspelt", tileset("    browser: balancd # !"), "tilesets.basemap.browser", "is not a policy; did you mean balanced?"},
		{"no Cache-Control", tileset("    browser: private, for an hour # !"), "tilesets.basemap.browser", "neither a policy nor a Cache-Control value"},
		{"Cache-Control with a line break", tileset("    browser: \"private\\r\\nSet-Cookie: a=b\" # !"), "tilesets.basemap.browser", "neither a policy nor"},
		{"Cache-Control without seconds", tileset("    browser: private, max-age # !"), "tilesets.basemap.browser", "max-age without its number"},
		{"Cache-Control with a value too many", tileset("    browser: private=1 # !"), "tilesets.basemap.browser", "that it does not take"},
		{"private tiles in shared caches", tileset("    browser: public, max-age=60 # !"), "tilesets.basemap.browser", "invites shared caches"},
		{"private tiles with s-maxage", tileset("    browser: private, s-maxage=60 # !"), "tilesets.basemap.browser", "invites shared caches"},
		{"private tiles in shared caches by default", tileset("    browser: max-age=60 # !"), "tilesets.basemap.browser", "add private"},
		{"vend without role", tileset("    vend: true # !"), "tilesets.basemap.vend", "needs a role"},
		{"vend of what opens another tileset", vending("base/{z}/{x}/{y}.png", "base/hires/{z}/{x}/{y}.png"), "tilesets.basemap.vend", "objects of tilesets.roads, too: a policy for base/*/*/*.png, where * stops at no slash, allows its keys; keep the two under"},
		{"vend of what opens a file", vending("{z}/{x}/{y}.png", "r/{z}/{x}/{y}.webp") + "files: {plan: {source: s3://acme/2026/11/plan.png}}", "tilesets.basemap.vend", "objects of files.plan, too"},
		{"role of a tileset", tileset("    role: {arn: a} # !"), "tilesets.basemap.role.arn", "is not a role's ARN"},
		{"role that tilesets inherit from", minimal + "    role: {arn: 'arn:aws:iam::123456789012:role/a'}\naws: {role: {duration: 1m}} # !", "aws.role.duration", "must be 15m to 12h"},
		{"web identity beside an inherited external id", minimal + "    role: # !\n      web_identity_token_file: t\n" +
			"aws: {role: {arn: 'arn:aws:iam::123456789012:role/a', external_id: abc}}", "tilesets.basemap.role.external_id", `takes none: set ""`},
		{"one fault in aws.role for all who inherit", minimal + "    role: {session_name: basemap}\n" +
			"aws: {role: {arn: 'arn:aws:iam::123456789012:role/a', duration: 1m}} # !", "aws.role.duration", "must be 15m"},
		{"role of a tileset without ARN", tileset("    role: # !\n      duration: 2h"), "tilesets.basemap.role.arn", "is required by the other keys"},

		// cdn.purge.
		{"purge without an edge", minimal + "cdn: # !\n  purge: {cloudfront: {distribution: E1A2B3}}", "cdn.edge_authorizes", "is required by purge"},
		{"distribution", purging("cloudfront: {distribution: d111111abcdef8.cloudfront.net} # !"), "cdn.purge.cloudfront.distribution", "is not an ID of cloudfront"},
		{"service that is a path", purging("fastly: {service: ../x, token: {env: LONG}} # !"), "cdn.purge.fastly.service", "is not an ID of fastly"},
		{"zone", purging("cloudflare: {zone: example.com, token: {env: LONG}} # !"), "cdn.purge.cloudflare.zone", "is not an ID of cloudflare"},
		{"service without token", purging("fastly: # !\n      service: SU1Z0"), "cdn.purge.fastly.token", "is required with service"},
		{"token without zone", purging("cloudflare: # !\n      token: {env: LONG}"), "cdn.purge.cloudflare.zone", "is required with token"},
		{"short token", purging("fastly: {service: SU1Z0, token: {env: SHORT}} # !"), "cdn.purge.fastly.token", "fewer than 16 bytes"},
		{"endpoint without service", purging("fastly: # !\n      endpoint: https://fastly.example"), "cdn.purge.fastly.service", "is required with endpoint"},
		{"endpoint in clear", purging("fastly: {service: SU1Z0, token: {env: LONG}, endpoint: 'http://fastly.example'} # !"), "cdn.purge.fastly.endpoint", "would get the credentials in clear"},
		{"endpoint of a name like loopback", purging("fastly: {service: SU1Z0, token: {env: LONG}, endpoint: 'http://127.0.0.1.evil.example'} # !"), "cdn.purge.fastly.endpoint", "in clear"},
		{"endpoint that is none", purging("cloudfront: {distribution: E1A2B3, endpoint: cloudfront.example} # !"), "cdn.purge.cloudfront.endpoint", "is not an absolute http or https URL"},

		// files.
		{"file without source", minimal + "files:\n  report: {} # !", "files.report.source", "is required"},
		{"file with placeholders", minimal + "files:\n  report: {source: 's3://acme/{z}/{x}/{y}.png'} # !", "files.report.source", "has no placeholders"},
		{"file in a directory bucket", minimal + "files:\n  report: {source: 's3://acme--use1-az4--x-s3/report.pdf'} # !", "files.report.source", "is in a directory bucket"},
		{"file's id", minimal + "files:\n  _report: {source: s3://acme/a.pdf} # !", "files._report", "is not an id"},
		{"files that nobody may have", minimalTilesets + "    public: true\nfiles: {report: {source: s3://acme/a.pdf}}\nauth: # !\n  leeway: 1s", "auth", "files are never public"},

		// presign.
		{"short-lived URLs", minimal + "presign: {expires: 19s} # !", "presign.expires", "by 20s at least"},
		{"URLs for more than a week", minimal + "presign: {expires: 169h} # !", "presign.expires", "at most 168h0m0s"},
		{"window beyond expiry", minimal + "presign: {window: 881s} # !", "presign.window", "must be shorter than expires (15m0s) by 20s at least"},
		{"expiry before the window", minimal + "presign: {expires: 5m} # !", "presign.expires", "must be shorter than expires"},
		{"no window", minimal + "presign: {window: 0s} # !", "presign.window", "at least 1s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := 1 + strings.Count(tc.file[:strings.LastIndex(tc.file, "# !")], "\n")
			got := faults(t, tc.file, pairs...)
			if len(got) != 1 || got[0].Line != line || got[0].Key != tc.key || !strings.Contains(got[0].String(), tc.problem) {
				for _, f := range got {
					t.Errorf("got %s", f)
				}
				t.Errorf("want line %d, %s: %s", line, tc.key, tc.problem)
			}
		})
	}
}

// TestIDsBesideUnreadableValues: that what an id holds cannot be read says nothing about the id.
func TestIDsBesideUnreadableValues(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		want       []string // keys
	}{
		{
			"tileset's source", minimalAuth + "tilesets:\n  Base:\n    source: s3://acme/{z}/{x}.png\n",
			[]string{"tilesets.Base", "tilesets.Base.source"},
		},
		{
			"file's source", minimal + "files:\n  Rep:\n    source: s3://A/b\n",
			[]string{"files.Rep", "files.Rep.source"},
		},
		{"tileset that holds no keys", minimalAuth + "tilesets: {Base: []}\n", []string{"tilesets.Base", "tilesets.Base"}},
		{"unknown key", minimal + "  Other:\n    source: s3://acme/{z}/{x}/{y}.png\n    sorce: a\n", []string{"tilesets.Other", "tilesets.Other.sorce"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			ids := 0
			for _, f := range faults(t, tc.file) {
				got = append(got, f.Key)
				if strings.Contains(f.Problem, "is not an id") {
					ids++
				}
			}
			if !slices.Equal(got, tc.want) || ids != 1 {
				t.Errorf("got %q, %d of ids; want %q, one of ids", got, ids, tc.want)
			}
		})
	}
}

// role is an aws section whose role has more keys.
func role(keys string) string {
	return "aws: {role: {arn: 'arn:aws:iam::123456789012:role/tiles-reader', " + keys + "}} # !"
}

// vending is a configuration whose first tileset is vended and whose second is not, by their keys in one bucket.
func vending(first, second string) string {
	return minimalAuth + "aws: {role: {arn: 'arn:aws:iam::123456789012:role/tiles-reader'}}\ntilesets:\n" +
		"  basemap:\n    source: s3://acme/" + first + "\n    vend: true # !\n" +
		"  roads:\n    source: s3://acme/" + second + "\n"
}

// source is a configuration whose tileset has a source.
func source(s string) string {
	return minimalAuth + "tilesets:\n  basemap:\n    source: " + s + " # !"
}

// algorithms is a configuration whose issuer signs with a list of algorithms.
func algorithms(list string, more ...string) string {
	return "auth:\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [tiles]\n    algorithms: [" + list + "] # !\n" +
		"    " + strings.Join(more, "\n    ") + "\n" + minimalTilesets
}

// hmac is a configuration whose issuer signs with a secret.
func hmac(algorithm, variable string) string {
	return "auth:\n  issuers:\n  - issuer: https://id.example.com/\n    audience: [tiles]\n    algorithms: [" + algorithm + "]\n" +
		"    key: {env: " + variable + "} # !\n" + minimalTilesets
}

// A word that is misspelled, or stands too far left, is one fault: the rules do not miss what was meant a second time.
func TestOneTypoIsOneFault(t *testing.T) {
	const tiles = "{source: 's3://acme/{z}/{x}/{y}.png'}"
	for name, test := range map[string]struct{ file, key, hint string }{
		"source":              {minimalAuth + "tilesets: {b: {souce: 's3://acme/{z}/{x}/{y}.png'}}", "tilesets.b.souce", "did you mean source?"},
		"tilesets":            {minimalAuth + "tileset: {b: " + tiles + "}", "tileset", "did you mean tilesets?"},
		"origin_secrets":      {minimal + "cdn: {edge_authorizes: true, origin_secret: [{env: SIGNING_KEY}], tilesets: [basemap]}", "cdn.origin_secret", "did you mean origin_secrets?"},
		"admin_token":         {minimal + "server: {admin_listen: ':9090', admin_tokn: {env: SIGNING_KEY}}", "server.admin_tokn", "did you mean admin_token?"},
		"not indented":        {minimalAuth + "tilesets:\nb: " + tiles, "b", "it belongs under tilesets: indent it"},
		"indented too little": {minimalAuth + "tilesets:\n  b:\n  source: s3://acme/{z}/{x}/{y}.png", "tilesets.source", "it belongs under b: indent it"},
	} {
		t.Run(name, func(t *testing.T) {
			got := faults(t, test.file)
			if len(got) != 1 || got[0].Key != test.key || got[0].Hint != test.hint {
				t.Errorf("got %v, want one fault of %s: %s", got, test.key, test.hint)
			}
		})
	}
	// A key beside the right one is a fault of its own, and hides no other.
	if got := faults(t, minimalAuth+"tilesets: {b: {souce: x, source: y}}"); len(got) != 2 {
		t.Errorf("got %v, want two faults", got)
	}
}

// A source that cannot be one has a hint of its own.
func TestSourceHints(t *testing.T) {
	for text, want := range map[string]string{
		"world.mbtiles":                                   "pmtiles convert world.mbtiles world.pmtiles",
		"s3://Acme/{z}/{x}/{y}.png":                       "lower case",
		"s3://ac/{z}/{x}/{y}.png":                         "3 to 63 characters, and this one has 2",
		"s3://a..b/{z}/{x}/{y}.png":                       "two dots",
		"s3://acme-/{z}/{x}/{y}.png":                      "begins and ends with",
		"s3://{z}/{x}/{y}.png":                            "a placeholder cannot stand for it",
		"https://acme.s3.amazonaws.com/{z}/{x}/{y}.png":   "write s3://acme/{z}/{x}/{y}.png",
		"https://acme.s3.eu-west-1.amazonaws.com/{q}.png": "write s3://acme/{q}.png",
		"https://tiles.example.com/acme/{z}/{x}/{y}.png":  "is not s3://bucket/key",
	} {
		if _, err := configs.ParseSource(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// purging is a configuration with an edge that authorizes and one CDN that is purged.
func purging(at string) string {
	return minimal + "cdn:\n  edge_authorizes: true\n  tilesets: [basemap]\n  origin_secrets: [{env: LONG}]\n  purge:\n    " + at
}
