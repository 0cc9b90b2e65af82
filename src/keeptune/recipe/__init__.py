"""What a study is asked to do: the recipe, its arms and its entries, read and checked before anything runs."""
