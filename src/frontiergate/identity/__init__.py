"""Who is calling and from where: credential, token, key, address, GeoIP (DESIGN 5)."""
