//! Network interfaces: those to capture at, and those that appear later. Asked over netlink, which answers for our
//! network namespace, unlike `/sys`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use crossbeam_channel::Sender;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use crate::bpf::{Interface, LinkType, Packets};
use crate::escape;

/// Which interfaces are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// That of the default route.
    Default,
    /// All, later ones too.
    Any,
    /// These.
    Named(Vec<String>),
}

/// Captures packets at interfaces as they come and go.
pub struct Interfaces {
    packets: Packets,
    selection: Selection,
    netlink: OwnedFd,
    announce: Sender<Interface>,
    captured: Vec<Interface>,
}

impl Interfaces {
    /// Begins to capture; each interface is told to `announce` before its first packet.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refused.
    pub fn start(packets: Packets, selection: Selection, announce: Sender<Interface>) -> Result<Self> {
        let netlink = open(LINK_GROUP)?;
        let selection = match selection {
            Selection::Default => Selection::Named(vec![default_interface()?]),
            other => other,
        };
        let mut interfaces = Self { packets, selection, netlink, announce, captured: Vec::new() };
        let links = list()?;
        if let Selection::Named(names) = &interfaces.selection
            && let Some(missing) = names.iter().find(|name| links.iter().all(|link| link.name != **name))
        {
            let known: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            bail!("-i {missing}: there is no such interface; there are {}, and any", known.join(", "));
        }
        for link in links {
            interfaces.consider(link, false)?;
        }
        let names: Vec<_> =
            interfaces.captured.iter().map(|interface| escape::name(&interface.name)).collect();
        tracing::info!("capturing packets at {}", names.join(", "));
        Ok(interfaces)
    }

    /// Readable when interfaces may have changed.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }

    /// Begins at new ones.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn update(&mut self) -> Result<()> {
        // What the messages say may be out of date, or lost: the list is not.
        let mut buffer = vec![0; 1 << 16];
        while recv(&self.netlink, &mut buffer[..], RecvFlags::DONTWAIT) != Err(Errno::AGAIN) {}
        let links = list()?;
        let is_gone = |interface: &Interface| links.iter().all(|link| link.index != interface.index);
        for gone in self.captured.extract_if(.., |interface| is_gone(interface)) {
            tracing::warn!("{} is gone", escape::name(&gone.name));
            self.packets.forget(gone.index);
        }
        for link in links {
            self.consider(link, true)?;
        }
        Ok(())
    }

    /// Captures at an interface that was asked for. One that is named must work, unless it came later.
    fn consider(&mut self, link: Link, is_later: bool) -> Result<()> {
        let is_named = match &self.selection {
            Selection::Named(names) => names.contains(&link.name),
            _ => false,
        };
        let is_known = self.captured.iter().any(|interface| interface.index == link.index);
        if is_known || !(is_named || self.selection == Selection::Any) {
            return Ok(());
        }
        let name = escape::name(&link.name);
        let Some(kind) = link.kind() else {
            if is_named && !is_later {
                bail!("-i {name}: its link header (ARPHRD {}) is not known", link.hardware);
            }
            tracing::debug!("{name}: its link header (ARPHRD {}) is not known", link.hardware);
            return Ok(());
        };
        let interface = Interface { index: link.index, name: link.name, link: kind, mtu: link.mtu };
        let _ = self.announce.send(interface.clone()); // the pipeline outlives us
        match self.packets.attach(&interface) {
            Ok(()) if is_later => tracing::info!("capturing packets at {name}, too"),
            Ok(()) => {}
            Err(error) if is_named && !is_later => return Err(error),
            Err(error) => {
                tracing::warn!("{name} is not captured: {error:#}");
                return Ok(());
            }
        }
        self.captured.push(interface);
        Ok(())
    }
}

/// The names of all interfaces that can be captured.
///
/// # Errors
/// The kernel does not tell.
pub fn names() -> Result<Vec<String>> {
    Ok(list()?.into_iter().filter(|link| link.kind().is_some()).map(|link| link.name).collect())
}

/// An interface, as netlink describes it.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    index: u32,
    name: String,
    /// `ARPHRD_*` of `linux/if_arp.h`.
    hardware: u16,
    mtu: u32,
}

impl Link {
    fn kind(&self) -> Option<LinkType> {
        match self.hardware {
            1 | 772 => Some(LinkType::Ethernet), // ETHER, LOOPBACK
            // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, IPDDP, IPGRE, IP6GRE, NONE (tun, wireguard)
            512 | 519 | 768 | 769 | 776 | 777 | 778 | 823 | 65534 => Some(LinkType::Raw),
            _ => None,
        }
    }
}

/// Messages about interfaces: `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINK_GROUP: u32 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;

fn open(groups: u32) -> Result<OwnedFd> {
    let netlink =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None) // NETLINK_ROUTE is 0
            .and_then(|socket| bind(&socket, &SocketAddrNetlink::new(0, groups)).map(|()| socket));
    netlink.context("ask the kernel for network interfaces")
}

/// Every interface.
fn list() -> Result<Vec<Link>> {
    let netlink = open(0)?;
    // struct nlmsghdr and struct ifinfomsg
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    sendto(&netlink, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut links = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, _) =
            recv(&netlink, &mut buffer[..], RecvFlags::empty()).context("list network interfaces")?;
        if take_links(&buffer[..length], &mut links) {
            return Ok(links);
        }
    }
}

/// Reads messages; answers whether they end here.
fn take_links(mut messages: &[u8], links: &mut Vec<Link>) -> bool {
    while let Some((message, rest)) =
        split(messages, |header| u32_at(header, 0).map(|length| length as usize))
    {
        match u16_at(message, 4) {
            Some(RTM_NEWLINK) => links.extend(link(message)),
            Some(NLMSG_DONE) => return true,
            _ => {}
        }
        messages = rest;
    }
    false
}

/// The first of several that begin with their length and are padded to words.
fn split(bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<(&[u8], &[u8])> {
    let length = length(bytes)?;
    let first = bytes.get(..length).filter(|first| first.len() >= 4)?;
    Some((first, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn link(message: &[u8]) -> Option<Link> {
    let mut link =
        Link { index: u32_at(message, 20)?, name: String::new(), hardware: u16_at(message, 18)?, mtu: 0 };
    let mut attributes = message.get(32..)?;
    while let Some((attribute, rest)) = split(attributes, |header| u16_at(header, 0).map(usize::from)) {
        let value = attribute.get(4..)?;
        match u16_at(attribute, 2)? {
            IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            _ => {}
        }
        attributes = rest;
    }
    (!link.name.is_empty()).then_some(link)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The interface of the default route with the least metric; IPv4 before IPv6.
fn default_interface() -> Result<String> {
    let routes = |path| fs::read_to_string(path).unwrap_or_default();
    default_ipv4(&routes("/proc/self/net/route"))
        .or_else(|| default_ipv6(&routes("/proc/self/net/ipv6_route")))
        .context("there is no default route: name an interface with -i NAME, or take all with -i any")
}

fn default_ipv4(routes: &str) -> Option<String> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, "00000000", _, _, _, _, metric, "00000000", ..] = fields[..] else { return None };
        Some((metric.parse::<u32>().ok()?, name.to_owned()))
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

fn default_ipv6(routes: &str) -> Option<String> {
    let defaults = routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, _, name] = fields[..] else { return None };
        let is_default = destination.bytes().all(|digit| digit == b'0') && name != "lo";
        is_default.then_some((u32::from_str_radix(metric, 16).ok()?, name.to_owned()))
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric() {
        let ipv4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                    tun0\t00000000\t010200C0\t0003\t0\t0\t50\t00000080\t0\t0\t0\n\
                    wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                    eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_ipv4(ipv4).as_deref(), Some("eth0"));
        assert_eq!(default_ipv4(""), None);
        let zero = "0".repeat(32);
        let ipv6 = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n\
             {zero} 00 {zero} 00 {zero} 00000400 00000003 00000000 00000003 eth1\n\
             {zero} 00 {zero} 00 {zero} 00000200 00000003 00000000 00000003 eth0\n"
        );
        assert_eq!(default_ipv6(&ipv6).as_deref(), Some("eth0"));
        assert_eq!(default_ipv6(ipv4), None);
    }

    #[test]
    fn loopback_is_listed() {
        let links = list().expect("a list");
        let loopback = links.iter().find(|link| link.name == "lo").expect("lo");
        assert_eq!((loopback.index, loopback.hardware, loopback.kind()), (1, 772, Some(LinkType::Ethernet)));
        assert!(loopback.mtu > 0);
    }

    #[test]
    fn cut_messages_are_no_interfaces() {
        let mut message = vec![0; 32];
        message.extend([8, 0, 4, 0, 0xdc, 5, 0, 0, 7, 0, 3, 0, b'l', b'o', 0, 0]);
        message[0] = message.len() as u8;
        message[4] = RTM_NEWLINK as u8;
        let mut links = Vec::new();
        take_links(&message, &mut links);
        assert_eq!(links, [Link { index: 0, name: "lo".to_owned(), hardware: 0, mtu: 1500 }]);
        for length in 0..message.len() - 1 {
            links.clear();
            take_links(&message[..length], &mut links);
            assert_eq!(links, [], "{length}");
        }
    }
}
