"""nginx and haproxy, which route and check nothing."""

from bench.candidates.candidate import Candidate, Setup
from bench.processes import Command
from bench.world import World

_STREAMING = "proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;"


def _nginx(world: World, port: int, extra: str = "") -> Setup:
    text = f"""worker_processes 1; daemon off; pid {world.directory}/nginx-{port}.pid; error_log {world.directory}/nginx.err;
events {{ worker_connections 32768; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 64m; client_body_buffer_size 64k;
proxy_temp_path {world.directory}/nginx-proxy; client_body_temp_path {world.directory}/nginx-body;
upstream u {{ server 127.0.0.1:{world.port}; keepalive 64; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096;
location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; {extra} proxy_pass http://u; }} }} }}
"""
    path = world.directory / f"nginx-{port}.conf"
    path.write_text(text)
    return Setup((Command(("nginx", "-c", str(path))),), world.bearer())


def _nginx_streaming(world: World, port: int) -> Setup:
    return _nginx(world, port, _STREAMING)


def _haproxy(world: World, port: int) -> Setup:
    text = f"""global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{world.port}
"""
    path = world.directory / "haproxy.cfg"
    path.write_text(text)
    return Setup((Command(("haproxy", "-db", "-f", str(path))),), world.bearer())


NGINX = Candidate("nginx", "nginx, bare proxy_pass", _nginx)
NGINX_STREAMING = Candidate("nginx", "nginx, proxy_pass without buffering", _nginx_streaming)
HAPROXY = Candidate("haproxy", "haproxy, bare", _haproxy)
