# Varnish 6 or 7 as a shared cache in front of tilegate, no vmods. Each request for a tile goes to tilegate's
# /auth/verify first; on 204 it is restarted, and only then may the cache answer, with bytes fetched once for everybody.
# On tilegate's side:
#
#   server: {listen: "127.0.0.1:8080", public_url: "https://tiles.example.com", trusted_proxies: ["127.0.0.1/32"]}
#   auth:   {verify_header: X-Original-URI}
#   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
#
# To change: the tilesets in vcl_recv (those of cdn.tilesets; a public one needs none of this) and the secret (this file
# then belongs to root, mode 0600). TLS ends before Varnish, in hitch or the like, which speaks PROXY to it so that
# client.ip is the client's. `varnishlog` sees tokens: keep it to root.
vcl 4.1;

backend tilegate {
    .host = "127.0.0.1";
    .port = "8080";
    .first_byte_timeout = 60s;
}

sub vcl_recv {
    if (req.restarts == 0) {
        # Towards tilegate Varnish speaks for its clients, so what they claim in these headers is dropped, and so is
        # a state that only this file may set.
        unset req.http.X-Tile;
        unset req.http.X-Origin-Verify;
        unset req.http.X-Original-URI;
        unset req.http.X-Forwarded-Uri;
        unset req.http.X-Forwarded-Host;
        unset req.http.X-Forwarded-Proto;
        set req.http.X-Forwarded-For = client.ip;

        # TileJSON (/tiles/basemap.json) differs by caller and must not match here.
        if ((req.method == "GET" || req.method == "HEAD") &&
            req.url ~ "^/tiles/(basemap/)?[0-9]+/[0-9]+/[0-9]+(@[0-9]+x)?(\.[a-z]+)?(\?.*)?$") {
            set req.http.X-Tile = req.url;
            set req.http.X-Original-URI = req.url;
            set req.url = "/auth/verify";
        }
        return (pass);
    }

    # tilegate said 204. The verified path and nothing else of the request goes on: no query, no credential, nothing
    # that could vary the bytes.
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
        set beresp.grace = 24h; # no-store and private are not kept at all, by Varnish's own rule
    } elseif (bereq.is_bgfetch) {
        return (abandon); # the tile that is held is better than an error
    }
}

sub vcl_deliver {
    if (req.restarts == 0) {
        if (req.http.X-Tile && resp.status == 204) {
            return (restart);
        }
        return (deliver); # not a tile, or a refusal as tilegate words it
    }
    # What tilegate tells a shared cache is not for the viewer: beyond this point a tile is private again, and its
    # lifetime begins now.
    if (resp.http.Cache-Control ~ "s-maxage") {
        set resp.http.Cache-Control =
            "private" + regsuball(", " + resp.http.Cache-Control, ", *(s-maxage=[0-9]+|public)", "");
    }
    unset resp.http.Age;
    unset resp.http.CDN-Cache-Control;
    unset resp.http.Surrogate-Control;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
    # RFC 9211: after what tilegate said of the stored answer comes what happened here.
    if (obj.hits > 0) {
        set resp.http.Cache-Status = regsub(resp.http.Cache-Status + ", varnish; hit", "^, ", "");
    } else {
        set resp.http.Cache-Status = regsub(resp.http.Cache-Status + ", varnish; fwd=miss", "^, ", "");
    }
}
