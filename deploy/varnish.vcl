# Varnish 6 or 7 as a shared cache in front of tilegate, without vmods. Each request for a tile first goes to tilegate's
# /auth/verify. On status 204 it is restarted and then uses the cache, which holds one copy for all viewers.
# Configure tilegate with:
#
#   server: {listen: "127.0.0.1:8080", public_url: "https://tiles.example.com", trusted_proxies: ["127.0.0.1/32"]}
#   auth:   {verify_header: X-Original-URI}
#   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
#
# Change these in this file:
#   - the tilesets in vcl_recv: those of cdn.tilesets (a public tileset does not need this recipe);
#   - the secret, and then make the file readable by root only (mode 0600).
#
# Varnish does not speak TLS. Put hitch or a similar program in front, with the PROXY protocol, so that client.ip is the
# client's address. `varnishlog` shows tokens: allow only root to run it.
vcl 4.1;

backend tilegate {
    .host = "127.0.0.1";
    .port = "8080";
    .first_byte_timeout = 60s;
}

sub vcl_recv {
    if (req.restarts == 0) {
        # tilegate trusts these headers from Varnish, so what a client sent in them is removed. X-Tile is this file's own
        # state, which no client may set.
        unset req.http.X-Tile;
        unset req.http.X-Origin-Verify;
        unset req.http.X-Original-URI;
        unset req.http.X-Forwarded-Uri;
        unset req.http.X-Original-URL;
        unset req.http.X-Envoy-Original-Path;
        unset req.http.X-Forwarded-Host;
        unset req.http.X-Forwarded-Proto;
        set req.http.X-Forwarded-For = client.ip;

        # TileJSON (/tiles/basemap.json) depends on the caller and must not match here.
        if ((req.method == "GET" || req.method == "HEAD") &&
            req.url ~ "^/tiles/(basemap/)?[0-9]+/[0-9]+/[0-9]+(@[0-9]+x)?(\.[a-z]+)?(\?.*)?$") {
            set req.http.X-Tile = req.url;
            set req.http.X-Original-URI = req.url;
            set req.url = "/auth/verify";
        }
        return (pass);
    }

    # tilegate has answered 204. Forward the verified path and nothing else of the request: no query, no credential,
    # nothing that changes the bytes.
    set req.url = regsub(req.http.X-Tile, "\?.*$", "");
    unset req.http.X-Tile;
    unset req.http.X-Original-URI;
    unset req.http.X-Request-Id;
    unset req.http.Authorization;
    unset req.http.Cookie;
    set req.http.X-Origin-Verify = "change-me-to-the-origin-secret";
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_response {
    if (beresp.status < 500) {
        set beresp.grace = 24h; # Varnish does not store responses with no-store or private
    } elseif (bereq.is_bgfetch) {
        return (abandon); # the stored tile is better than an error
    }
}

sub vcl_deliver {
    if (req.restarts == 0) {
        if (req.http.X-Tile && resp.status == 204) {
            return (restart);
        }
        return (deliver); # not a tile, or tilegate's own error response
    }
    # The viewer must not get the directives for shared caches. The viewer's copy is private, and its lifetime begins now.
    if (resp.http.Cache-Control ~ "s-maxage") {
        set resp.http.Cache-Control =
            "private" + regsuball(", " + resp.http.Cache-Control, ", *(s-maxage=[0-9]+|public)", "");
    }
    unset resp.http.Age;
    unset resp.http.CDN-Cache-Control;
    unset resp.http.Surrogate-Control;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
    # Cache-Status (RFC 9211): tilegate's entry comes first, it describes the stored response. Varnish appends its own.
    if (obj.hits > 0) {
        set resp.http.Cache-Status = regsub(resp.http.Cache-Status + ", varnish; hit", "^, ", "");
    } else {
        set resp.http.Cache-Status = regsub(resp.http.Cache-Status + ", varnish; fwd=miss", "^, ", "");
    }
}
