"""The names of the servers, the sites that each has, and the configurations of those that need one."""

NGINX = """
worker_processes auto; daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
  keepalive_requests 1000000000; default_type text/plain; autoindex on; access_log off; {settings}
  types {{ text/html html; text/plain txt; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{files} backlog=4096; root {www}; }}
  server {{ listen 127.0.0.1:{log} backlog=4096; root {www}; access_log {folder}/access.log combined; }}
  server {{ listen 127.0.0.1:{hello} backlog=4096; location / {{ return 200 "Hello, World!"; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl backlog=4096; root {www};
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  }}
  server {{ listen 127.0.0.1:{gzip} backlog=4096; root {www}; gzip on; gzip_comp_level 6; }}
  server {{ listen 127.0.0.1:{precompressed} backlog=4096; root {www}-gz; gzip_static on; }}
  server {{
    listen 127.0.0.1:{uploads} backlog=4096; root {uploaded};
    dav_methods PUT; client_max_body_size 0; client_body_buffer_size 64k;
  }}
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{proxy} backlog=4096;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
NGINX_SITES = ("files", "log", "hello", "tls", "gzip", "precompressed", "uploads", "proxy")
NGINX_SETTINGS = {
    "nginx": "sendfile on;",
    "nginx-copy": "sendfile off;",
    "nginx-cached": "sendfile on; open_file_cache max=4096; open_file_cache_min_uses 1;",
}
H2O = """
num-threads: {cores}
error-log: {folder}/h2o.log
file.dirlisting: on
hosts:
  "files:{files}":
    listen: {{ host: 127.0.0.1, port: {files} }}
    paths: {{ "/": {{ file.dir: "{www}" }} }}
  "log:{log}":
    listen: {{ host: 127.0.0.1, port: {log} }}
    paths: {{ "/": {{ file.dir: "{www}" }} }}
    access-log: {folder}/access-h2o.log
"""
LIGHTTPD = """
server.document-root = "{www}"
server.bind = "127.0.0.1"
server.port = {files}
server.max-worker = {cores}
server.max-fds = 16384
server.max-keep-alive-requests = 65535
server.listen-backlog = 4096
server.errorlog = "{folder}/lighttpd.log"
server.modules += ( "mod_dirlisting", "mod_accesslog" )
dir-listing.activate = "enable"
mimetype.assign = ( ".txt" => "text/plain", ".bin" => "application/x-binary" )
$SERVER["socket"] == "127.0.0.1:{log}" {{ accesslog.filename = "{folder}/access-lighttpd.log" }}
"""
CADDY = """
{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
http://127.0.0.1:{listing} {{
  root * {www}
  file_server browse
}}
http://127.0.0.1:{gzip} {{
  root * {www}
  encode {{
    gzip 6
  }}
  file_server
}}
http://127.0.0.1:{proxy} {{
  reverse_proxy 127.0.0.1:{backend}
}}
"""

TITLES = {
    "modest": "modest",
    "nginx": "nginx",
    "nginx-copy": "nginx, `sendfile off`",
    "nginx-cached": "nginx, `open_file_cache`",
    "h2o": "h2o",
    "lighttpd": "lighttpd",
    "static-web-server": "static-web-server",
    "hyper": "hyper",
    "caddy": "Caddy",
    "dufs": "dufs",
    "miniserve": "miniserve",
    "axum": "axum",
    "actix": "actix-web",
    "may": "may_minihttp",
    "tokio": "tokio, tungstenite",
    "std": "a loop of std",
    "redis": "Redis",
}
PEERS = [name for name in TITLES if name != "modest"]
# The sites of each server. A row is measured with the servers that have its site.
APP = ("app", "plaintext")
SITES = {
    "nginx": NGINX_SITES + ("listing", "plaintext"),
    "nginx-copy": ("files", "log"),
    "nginx-cached": ("files", "log"),
    "h2o": ("files", "log", "listing"),
    "lighttpd": ("files", "log", "listing"),
    "static-web-server": ("files", "listing"),
    "hyper": ("hello", "plaintext"),
    "caddy": ("listing", "gzip", "precompressed", "proxy"),
    "dufs": ("listing", "archive", "uploads"),
    "miniserve": ("listing", "archive", "forms"),
    "axum": (*APP, "page", "sockets", "events"),
    "actix": (*APP, "page"),
    "may": APP,
    "tokio": ("sockets", "datagrams"),
    "std": ("datagrams",),
    "redis": ("lines",),
}
