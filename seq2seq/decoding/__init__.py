"""Searches over one Decodable interface: greedy, beam, sampling."""
