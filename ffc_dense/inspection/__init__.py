"""What the filters do: statistics and pictures of every output. Torch alone; matplotlib where a picture is drawn."""
