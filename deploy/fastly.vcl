# Fastly as a shared cache in front of tilegate: a custom VCL file, written from Fastly's documentation and not run at
# Fastly. It works like varnish.vcl: each request for a tile first goes to tilegate's /auth/verify. On status 204 it is
# restarted and then uses the cache. Configure tilegate with (trusted_proxies are the addresses that Fastly publishes):
#
#   server: {public_url: "https://tiles.example.com", trusted_proxies: ["151.101.0.0/16"]}
#   auth:   {verify_header: X-Original-URI}
#   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
#
# Change the tilesets in vcl_recv: those of cdn.tilesets. Create a private edge dictionary named tilegate with the item
# origin_secret. Do not use shielding: a shield would run this file twice, and tilegate already fetches a tile once for all
# waiting requests. When the data changes, purge the surrogate key "tileset-basemap", or set cdn.purge.fastly: POST
# /admin/purge then does it.

sub vcl_recv {
#FASTLY recv
  if (req.restarts == 0) {
    # tilegate trusts these headers from Fastly, so what a client sent in them is removed. X-Tile is this file's own state,
    # which no client may set.
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
    return(pass);
  }

  # tilegate has answered 204. Forward the verified path and nothing else of the request.
  set req.url = regsub(req.http.X-Tile, "\?.*$", "");
  unset req.http.X-Tile;
  unset req.http.X-Original-URI;
  unset req.http.X-Request-Id;
  unset req.http.Authorization;
  unset req.http.Cookie;
  set req.http.X-Origin-Verify = table.lookup(tilegate, "origin_secret", "");
  set req.http.Fastly-Force-Shield = "1"; # a restart turns clustering off, and then each node would fetch for itself
  return(lookup);
}

sub vcl_hash {
#FASTLY hash
  set req.hash += req.url;
  set req.hash += req.http.host;
  return(hash);
}

sub vcl_hit {
#FASTLY hit
  return(deliver);
}

sub vcl_miss {
#FASTLY miss
  return(fetch);
}

sub vcl_pass {
#FASTLY pass
  return(pass);
}

sub vcl_fetch {
#FASTLY fetch
  if (beresp.status >= 500 && stale.exists) {
    return(deliver_stale);
  }
  # Store only what tilegate allows shared caches to store: responses with Surrogate-Control.
  if (!beresp.http.Surrogate-Control || beresp.http.Set-Cookie) {
    return(pass);
  }
  set beresp.stale_if_error = 24h;
  return(deliver); # Surrogate-Control sets the lifetime
}

sub vcl_error {
#FASTLY error
  if (stale.exists) {
    return(deliver_stale);
  }
  return(deliver);
}

sub vcl_deliver {
#FASTLY deliver
  if (req.restarts == 0) {
    if (req.http.X-Tile && resp.status == 204) {
      restart;
    }
    return(deliver); # not a tile, or tilegate's own error response
  }
  # The viewer must not get the directives for shared caches. The viewer's copy is private, and its lifetime begins now.
  if (resp.http.Cache-Control ~ "s-maxage") {
    set resp.http.Cache-Control = "private" regsuball(", " resp.http.Cache-Control, ", *(s-maxage=[0-9]+|public)", "");
  }
  unset resp.http.Age;
  unset resp.http.CDN-Cache-Control;
  unset resp.http.Surrogate-Control;
  unset resp.http.Surrogate-Key;
  unset resp.http.Cache-Tag;
  return(deliver);
}

sub vcl_log {
#FASTLY log
}
