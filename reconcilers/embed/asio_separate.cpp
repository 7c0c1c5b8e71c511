// The bodies of Asio and Beast, compiled once (their "separate compilation"): a quarter off every file that includes them.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
