//! Live tests: real programs, real probes, this kernel. They need root; `make live` runs them.
//!
//! Each test has its own copy of libssl where it can, its own servers on free ports, and ends what it started.

mod capture;
mod clients;
mod http;
mod keys;
mod lab;
mod network;
mod packet_capture;
mod packets;
mod pattern;
mod process;
mod record;
mod server;
mod terminal;

mod bad_input;
mod big_streams;
mod cache;
mod call_forms;
mod connections;
mod control_api;
mod discovery;
mod event_stream;
mod filters;
mod gnutls;
mod go;
mod http_messages;
mod keylog;
mod keylog_file;
mod loss;
mod many;
mod mariadb;
mod memory;
mod nss;
mod old_kernels;
mod outputs;
mod packages;
mod packet_filters;
mod pcapng;
mod pcapng_ends;
mod pcapng_plaintext;
mod pcapng_traffic;
mod postgres;
mod privileges;
mod programs;
mod protocols;
mod rustls;
mod selection;
mod shells;
mod speed;
mod stacks;
mod start_stop;
mod strangers;
mod text_output;
