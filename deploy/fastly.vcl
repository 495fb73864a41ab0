# Fastly as a shared cache in front of tilegate: a custom VCL file, written by Fastly's documentation and not yet run
# there. It works as varnish.vcl does: a request for a tile goes to tilegate's /auth/verify first and is restarted on 204;
# only then may the cache answer. On tilegate's side (trusted_proxies: the addresses that Fastly publishes):
#
#   server: {public_url: "https://tiles.example.com", trusted_proxies: ["151.101.0.0/16"]}
#   auth:   {verify_header: X-Original-URI}
#   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
#
# To change: the tilesets in vcl_recv (those of cdn.tilesets), and in a private edge dictionary named tilegate the item
# origin_secret. Leave shielding off: tilegate joins requests for a cold tile itself, and a shield would run this twice.
# New data: purge the surrogate key "tileset-basemap".

sub vcl_recv {
#FASTLY recv
  if (req.restarts == 0) {
    # What clients claim in these headers is dropped, and so is a state that only this file may set.
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
    return(pass);
  }

  # tilegate said 204. The verified path and nothing else of the request goes on.
  set req.url = regsub(req.http.X-Tile, "\?.*$", "");
  unset req.http.X-Tile;
  unset req.http.X-Original-URI;
  unset req.http.X-Request-Id;
  unset req.http.Authorization;
  unset req.http.Cookie;
  set req.http.X-Origin-Verify = table.lookup(tilegate, "origin_secret", "");
  set req.http.Fastly-Force-Shield = "1"; # a restart turns clustering off, without which each node fetches for itself
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
  # An allow-list: without Surrogate-Control tilegate has not said that this is for everybody.
  if (!beresp.http.Surrogate-Control || beresp.http.Set-Cookie) {
    return(pass);
  }
  set beresp.stale_if_error = 24h;
  return(deliver); # the lifetime is Surrogate-Control's
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
    return(deliver); # not a tile, or a refusal as tilegate words it
  }
  # Beyond this point a tile is private again, and its lifetime begins now.
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
