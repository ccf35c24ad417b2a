"""What watches a training and writes down what it sees; nothing here changes what is learnt."""
