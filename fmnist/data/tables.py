"""Labelled images in tables, one image a row: CSV and Parquet."""

from fmnist.data.csv_tables import read_csv
from fmnist.data.parquet_tables import read_parquet

__all__ = ["read_csv", "read_parquet"]
